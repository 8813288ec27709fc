"""What runs in the application all the time, played by a client: deliveries, screens, logging in, loops behind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.services.deployments.scheduler import enqueue_due_jobs_once
from app.services.deployments.worker import DeploymentWorker
from app.services.orders.sending.unknown import settle_unknown
from app.services.orders.stranded import move_stranded_orders
from loadtests.traffic.payloads import SHAPES
from loadtests.traffic.signals import Signals

with warnings.catch_warnings():
    # Starlette's client works with httpx but announces that it will want httpx2.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from fastapi.testclient import TestClient

SECRET = "hot-queries-secret"
USER_ID, USERNAME = 1001, "trader1"
SESSION_TIME = datetime(2026, 1, 5, 5, 0, 30, tzinfo=UTC)  # a Monday, 10:30:30 IST

Sessions = Callable[[], Session]
HotPath = Callable[[TestClient, Sessions], None]


def deliver(client: TestClient, *, users: list[str] | None = None) -> int:
    """A delivery in every shape, each sent twice; returns the id of an order."""
    signals = Signals(f"hot{datetime.now(UTC).timestamp()}", users or [USERNAME], seed=1)
    order_id = 0
    for shape in SHAPES:
        request = shape.write(signals.next()[0], SECRET)
        headers = {"Content-Type": request.content_type, **request.headers}
        for expected in ("accepted", "deduped"):
            answer = client.post("/webhook/tradingview", content=request.body, headers=headers)
            assert answer.status_code == shape.status, answer.text
            if shape.stored:
                assert answer.json()["status"] == expected
                order_id = answer.json()["order_id"]
    return order_id


def webhook(client: TestClient, sessions: Sessions) -> None:
    deliver(client)


def orders(client: TestClient, sessions: Sessions) -> None:
    order_id = deliver(client)
    waiting = client.get("/api/orders/queue").json()
    assert order_id in [order["id"] for order in waiting]
    assert client.get(f"/api/orders/{order_id}").status_code == 200
    assert client.patch(f"/api/orders/{order_id}", json={"qty": 7.0}).status_code == 200
    assert client.patch(f"/api/orders/{order_id}/status", json={"status": "CANCELLED"}).status_code == 200


def screens(client: TestClient, sessions: Sessions) -> None:
    client.get("/api/positions/").raise_for_status()
    times = "start=2026-01-02T09:15:00&end=2026-01-02T12:00:00"
    client.get(f"/api/market/history?symbol=S1&exchange=NSE&timeframe=5m&{times}").raise_for_status()
    client.get("/api/positions/daily").raise_for_status()


def log_in(client: TestClient, sessions: Sessions) -> None:
    assert client.post("/api/auth/login", json={"username": USERNAME, "password": "no"}).status_code == 401
    assert client.get("/api/auth/me").json()["username"] == USERNAME


def jobs(client: TestClient, sessions: Sessions) -> None:
    worker = DeploymentWorker(
        sessions,
        "hot",
        before_claim=lambda db: enqueue_due_jobs_once(db, get_settings(), now_utc=SESSION_TIME),
    )
    assert worker.run_once()


def stranded(client: TestClient, sessions: Sessions) -> None:
    with sessions() as db:
        move_stranded_orders(db)
        settle_unknown(db, get_settings())
