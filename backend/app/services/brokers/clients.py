"""The seam to the brokers: what the application needs of a client, and where one is registered.

This package holds no broker SDK. A deployment (or a test) registers a factory per broker name; without
one every broker counts as not connected, which is also the answer when the user has no connection row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final, Protocol, runtime_checkable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.models import BrokerConnection, Order
from app.services.shared.kept import kept

BROKER_LABELS: Final[Mapping[str, str]] = {
    "zerodha": "Zerodha (Kite)",
    "angelone": "AngelOne (SmartAPI)",
}
CALL_AT_MOST_S: Final = 30.0
_CONNECTED_NAMES: Final[Mapping[str, str]] = {"zerodha": "Zerodha", "angelone": "AngelOne"}


class BrokerError(Exception):
    """The broker refused or could not be reached; the text is the broker's. It has not taken the order."""


class OutcomeUnknown(BrokerError):
    """The broker was asked and did not answer: nobody knows whether it has taken the order."""


class BrokerClient(Protocol):
    """What orders, SELL resolution and position sync need of a broker."""

    account_id: str | None

    def place_order(self, order: Order, *, variety: str = "regular") -> str:
        """Send the order and return the broker's order id; BrokerError when it is refused.

        The order goes out under its `idempotency_key`, in the field that the broker has for it (a tag, a client
        order id). The call ends after `CALL_AT_MOST_S` seconds. A time-out is an `OutcomeUnknown`; so is every
        exception that is no BrokerError.
        """
        ...

    def list_holdings(self) -> list[dict[str, Any]]:
        """Holdings: members symbol, exchange, qty."""
        ...

    def list_positions(self) -> list[dict[str, Any]]:
        """Day and net positions: members symbol, exchange, product, qty, avg_price, pnl and day figures."""
        ...

    def last_price(self, exchange: str, symbol: str) -> float:
        """The last traded price in rupees."""
        ...

    def order_statuses(self) -> dict[str, str]:
        """Status of today's orders by broker order id."""
        ...


@runtime_checkable
class FindsOrders(Protocol):
    """A client that can say what became of an order."""

    def find_order(self, key: str) -> str | None:
        """The broker's id of the order with this idempotency key, None if it has none; BrokerError otherwise."""
        ...


ClientFactory = Callable[[Settings, BrokerConnection], BrokerClient]
CLIENT_FACTORIES: dict[str, ClientFactory] = {}


class NotConnected(LookupError):
    """No usable connection to the broker; the message is the one shown to the user."""


def connected_client(db: Session, settings: Settings, broker_name: str, user_id: int | None) -> BrokerClient:
    """A client for the user's connection; NotConnected when there is none.

    Zerodha connections are shared: without an own one the newest of any user is taken.
    """
    factory = CLIENT_FACTORIES.get(broker_name)
    question = (BrokerConnection, broker_name, user_id)
    connection = kept(db, question, lambda: _connection(db, broker_name, user_id)) if factory else None
    if factory is None or connection is None:
        raise NotConnected(f"{_CONNECTED_NAMES.get(broker_name, broker_name)} is not connected.")
    return factory(settings, connection)


def idempotency_key(order: Order) -> str:
    """What a broker is told the order by: 20 letters and digits, the same for ever and on either database.

    The time is part of it, because ids come again when a backup is restored.
    """
    made = f"{order.id} {order.created_at.astimezone(UTC).isoformat()}"
    return "ST" + hashlib.sha256(made.encode()).hexdigest()[:18].upper()


def shown_name(broker_name: str) -> str:
    """The broker's name as messages have it."""
    return "Zerodha" if broker_name == "zerodha" else broker_name


def _connection(db: Session, broker_name: str, user_id: int | None) -> BrokerConnection | None:
    query = select(BrokerConnection).where(BrokerConnection.broker_name == broker_name)
    own = query.where(BrokerConnection.user_id == user_id).order_by(BrokerConnection.id.desc()).limit(1)
    found = db.scalars(own).first() if user_id is not None else None
    if found is not None or broker_name != "zerodha":
        return found
    newest = query.order_by(BrokerConnection.updated_at.desc(), BrokerConnection.id.desc()).limit(1)
    return db.scalars(newest).first()
