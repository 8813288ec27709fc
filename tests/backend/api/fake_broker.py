"""A broker for tests: it holds and refuses what a test puts into it."""

from __future__ import annotations

import threading
from typing import Any

from app.models import Order
from app.services.brokers.clients import BrokerError, idempotency_key


class FakeBroker:
    """A broker that holds what a test puts into it."""

    account_id = "AB1234"

    def __init__(self) -> None:
        self.holdings: list[dict[str, Any]] = []
        self.positions: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self.placed: list[tuple[int, str]] = []
        self.ids: dict[str, str] = {}  # by idempotency key
        self.answers: list[Exception] = []  # raised once the order is placed
        self._one_call = threading.Lock()
        self.silent = False  # it cannot say which orders it has

    def place_order(self, order: Order, *, variety: str = "regular") -> str:
        if self.refusals:
            raise BrokerError(self.refusals.pop(0))
        with self._one_call:
            self.placed.append((order.id, variety))
            self.ids[idempotency_key(order)] = made = f"B{len(self.placed)}"
            if self.answers:
                raise self.answers.pop(0)
        return made

    def find_order(self, key: str) -> str | None:
        if self.silent:
            raise BrokerError("orders are down")
        return self.ids.get(key)

    def list_holdings(self) -> list[dict[str, Any]]:
        if not self.holdings:
            raise BrokerError("holdings are down")
        return self.holdings

    def list_positions(self) -> list[dict[str, Any]]:
        return self.positions

    def last_price(self, exchange: str, symbol: str) -> float:
        return 123.45

    def order_statuses(self) -> dict[str, str]:
        return {"B1": "EXECUTED", "B99": "SENT"}
