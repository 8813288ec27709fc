"""People at their screens: they look at alerts, orders and events, and change and cancel waiting orders."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from locust import FastHttpUser, task

from loadtests.traffic.ledger import Fact
from loadtests.traffic.scenarios.shared import Paced, Shared

TIMEOUT_S = 10.0


class TraderUser(Paced, FastHttpUser):
    """Reads most of the time. `shared` is set by the locustfile before any user starts."""

    shared: Shared
    network_timeout = TIMEOUT_S
    connection_timeout = TIMEOUT_S
    max_retries = 0

    def on_start(self) -> None:
        """The administrator's credentials open everything that these users do."""
        name, password = self.shared.admin
        token = b64encode(f"{name}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Connection": "close"}
        self._random = random.Random(self.shared.profile.seed)
        super().on_start()

    @task(4)
    def look_at_alerts(self) -> None:
        """The newest alerts."""
        self.client.get("/api/tv-alerts?limit=20", headers=self._headers, name="alerts")

    @task(2)
    def look_at_events(self) -> None:
        """The newest events."""
        self.client.get("/api/system-events/?limit=20", headers=self._headers, name="events")

    @task(1)
    def look_at_positions(self) -> None:
        """All positions."""
        self.client.get("/api/positions/", headers=self._headers, name="positions")

    @task(2)
    def look_at_candles(self) -> None:
        """A morning of one symbol's bars, built from the stored minutes; there may be none."""
        path = (
            "/api/market/history?symbol=SBIN&exchange=NSE&timeframe=5m"
            "&start=2026-01-02T09:15:00&end=2026-01-02T12:00:00"
        )
        with self.client.get(path, headers=self._headers, name="candles", catch_response=True) as response:
            if response.status_code in (200, 400, 404):
                response.success()

    @task(3)
    def work_on_an_order(self) -> None:
        """Look at an order, change its quantity, cancel it or take the cancellation back."""
        with self._order() as order_id:
            if order_id is None:
                return
            self.client.get(f"/api/orders/{order_id}", headers=self._headers, name="order")
            quantity = float(self._random.randint(1, 999))
            status = self._random.choice(("CANCELLED", "WAITING"))
            self._change(order_id, f"/api/orders/{order_id}", {"qty": quantity}, "edit order")
            self._change(order_id, f"/api/orders/{order_id}/status", {"status": status}, "order status")

    @contextmanager
    def _order(self) -> Iterator[int | None]:
        """An order that nobody else works on meanwhile."""
        if not self.shared.orders:
            yield None
            return
        order_id = self.shared.orders.popleft()
        try:
            yield order_id
        finally:
            self.shared.orders.append(order_id)

    def _change(self, order_id: int, path: str, values: Mapping[str, Any], name: str) -> None:
        """One change, noted as doubtful before it is sent, and as a fact once it is acknowledged."""
        self.shared.ledger.write(Fact("orders", {"id": order_id}, values, acknowledged=False))
        with self.client.patch(
            path, json=dict(values), headers=self._headers, name=name, catch_response=True
        ) as response:
            if response.status_code in (200, 400):
                response.success()  # a cancelled order takes no edit: 400, and nothing changed
        if response.status_code == 200:
            self.shared.ledger.write(Fact("orders", {"id": order_id}, values))
