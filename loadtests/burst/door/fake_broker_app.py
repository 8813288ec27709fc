"""The application with a fake broker: `uvicorn fake_broker_app:app`, this folder being on the path.

Each call is written into the file BURST_BROKER_CALLS before it is answered, one line per call, so that a call can be
counted after a kill -9 as well. Which calls are refused or slow follows from the order's key alone: the same burst
meets the same broker. The module imports nothing of `loadtests`, because it also runs with an older checkout, in
which the modules of the application lie elsewhere.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

BROKER = "angelone"
SLOW = 10  # times the usual delay, for two calls in a hundred
_THOUSAND = 1000


def outcome(key: str, refused_per_thousand: int) -> tuple[bool, bool]:
    """Whether the call for an order with this key is placed, and whether it is slow."""
    drawn = zlib.crc32(key.encode())
    return drawn % _THOUSAND >= refused_per_thousand, drawn // _THOUSAND % 50 == 0


class FakeBroker:
    """A client that takes orders and holds nothing."""

    account_id = "burst"

    def __init__(self, error: type[Exception], key_of: Callable[[Any], str]) -> None:
        self._error = error
        self._key_of = key_of
        self._delay_s = float(os.environ.get("BURST_BROKER_DELAY_MS", "0")) / 1000
        self._refused = int(os.environ.get("BURST_BROKER_REFUSED_PER_THOUSAND", "0"))

    def place_order(self, order: Any, **_: Any) -> str:
        """The broker's id of the order; the application's BrokerError where this broker refuses."""
        placed, slow = outcome(order.client_order_id or "", self._refused)
        call = {
            "order_id": order.id, "key": order.client_order_id, "at": time.time(), "placed": placed,
            "sent_as": self._key_of(order),
        }  # fmt: skip
        descriptor = os.open(os.environ["BURST_BROKER_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (json.dumps(call) + "\n").encode())
        finally:
            os.close(descriptor)
        time.sleep(self._delay_s * (SLOW if slow else 1))
        if not placed:
            raise self._error("refused by the fake broker")
        return f"fake-{order.id}"

    def find_order(self, key: str) -> str | None:
        """The broker's id of the order that was placed under this idempotency key."""
        with Path(os.environ["BURST_BROKER_CALLS"]).open(encoding="utf-8") as calls:
            for call in map(json.loads, calls):
                if call["placed"] and call["sent_as"] == key:
                    return f"fake-{call['order_id']}"
        return None

    def list_holdings(self) -> list[dict[str, Any]]:
        """Nothing."""
        return []

    def list_positions(self) -> list[dict[str, Any]]:
        """Nothing."""
        return []

    def last_price(self, exchange: str, symbol: str) -> float:
        """The same for everything."""
        return 100.0

    def order_statuses(self) -> dict[str, str]:
        """Nothing."""
        return {}


def register() -> None:
    """Put the fake broker where the application looks for its clients."""
    try:
        clients = import_module("app.services.brokers.clients")
    except ModuleNotFoundError:
        clients = import_module("app.services.broker_clients")
    # An earlier release has no keys.
    key_of: Callable[[Any], str] = getattr(clients, "idempotency_key", lambda order: order.client_order_id)
    clients.CLIENT_FACTORIES[BROKER] = lambda settings, connection: FakeBroker(clients.BrokerError, key_of)


if os.environ.get("BURST_BROKER_CALLS"):  # tests import the rule alone
    register()
    app = import_module("app.main").app
