"""An AUTO order whose dispatch never came to an end is found and shown to a person, once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.models import Order, SystemEvent, User
from app.roles.leader import FileLock, Leadership
from app.roles.scheduler import Scheduler
from app.roles.scheduler import stranded_orders as scheduled_look
from app.services.orders import stranded as stranded_orders
from app.services.orders.stranded import STRANDED, move_stranded_orders
from app.services.webhook import dispatch as webhook_dispatch
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.api_values import WEBHOOK_SECRET

BUY: dict[str, Any] = {
    "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": "NSE:TCS",
    "order_id": "Long-1", "bar_time": "2026-01-27T05:45:00Z",
    "trade_details": {"order_action": "BUY", "quantity": 3},
}  # fmt: skip


def _age(db: Session, **ago: float) -> None:
    for order in db.execute(select(Order.id, Order.created_at, Order.updated_at)).all():
        times = {"created_at": order[1] - timedelta(**ago), "updated_at": order[2] - timedelta(**ago)}
        db.execute(update(Order).where(Order.id == order[0]).values(times))
    db.commit()


@pytest.fixture
def stranded(
    client: TestClient, db: Session, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> int:
    """The id of an AUTO order whose database went away between its commit and its dispatch."""
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))

    def lose(*_args: Any, **_kwargs: Any) -> Order:
        raise OperationalError("SELECT", {}, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(webhook_dispatch, "execute_stored_order", lose)
        assert client.post("/webhook", json=BUY).json()["dispatch"] == "PENDING"
    order_id = db.scalars(select(Order.id)).one()
    resent = client.post("/webhook", json=BUY).json()
    assert (resent["status"], resent["order_id"]) == ("deduped", order_id)
    assert client.get("/api/orders/queue").json() == []
    return order_id


def test_it_appears_in_the_queue_once(client: TestClient, db: Session, stranded: int) -> None:
    assert move_stranded_orders(db) == []  # its dispatch may still be under way
    _age(db, minutes=3)
    assert move_stranded_orders(db) == [stranded]
    queue = client.get("/api/orders/queue").json()
    assert [(order["id"], order["error_message"]) for order in queue] == [(stranded, STRANDED)]
    assert move_stranded_orders(db) == []
    messages = db.scalars(select(SystemEvent.message)).all()
    assert messages.count("Stranded AUTO order moved to waiting queue") == 1
    assert client.post("/webhook", json=BUY).json()["order_id"] == stranded


def test_several_workers_move_it_once(session_factory: Any, db: Session, stranded: int) -> None:
    _age(db, minutes=3)
    together = threading.Barrier(4)

    def look(_worker: int) -> list[int]:
        with session_factory() as session:
            together.wait()
            return move_stranded_orders(session)

    with ThreadPoolExecutor(4) as pool:
        moved = list(pool.map(look, range(4)))
    assert sorted(moved) == [[], [], [], [stranded]]
    assert len(db.scalars(select(SystemEvent.id).where(SystemEvent.level == "WARNING")).all()) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"status": "SENT"}, {"mode": "MANUAL"}, {"simulated": True}, {"broker_order_id": "1"},
        {"synthetic_gtt": True}, {"error_message": "refused"}, {"client_order_id": None},
    ],
    ids=lambda values: next(iter(values)),
)  # fmt: skip
def test_other_orders_stay_as_they_are(db: Session, stranded: int, values: dict[str, Any]) -> None:
    db.execute(update(Order).values(values))
    db.commit()
    _age(db, minutes=3)
    assert move_stranded_orders(db) == []


def test_history_stays_as_it_is(db: Session, stranded: int) -> None:
    _age(db, days=8)
    assert move_stranded_orders(db) == []


def test_a_dispatch_that_ended_leaves_its_reason(
    client: TestClient, db: Session, user: User, settings: Settings
) -> None:
    config = TradingViewWebhookConfig(mode="AUTO", fallback_to_waiting_on_error=False)
    set_tradingview_webhook_config(db, settings, config)
    assert client.post("/webhook", json=BUY).status_code == 400
    _age(db, minutes=3)
    assert move_stranded_orders(db) == []
    assert db.scalars(select(Order.error_message)).one() == "Zerodha is not connected."


def test_the_watch_outlives_a_failure(
    session_factory: Any, db: Session, stranded: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _age(db, minutes=3)
    moved, looks = threading.Event(), []

    def look(session: Session) -> list[int]:
        looks.append(1)
        if len(looks) == 1:
            raise OperationalError("SELECT", {}, Exception("gone"))
        found = move_stranded_orders(session)
        moved.set()
        return found

    monkeypatch.setattr(stranded_orders, "move_stranded_orders", look)
    task = replace(scheduled_look(session_factory), every_s=0.0)
    scheduler = Scheduler(Leadership(FileLock(tmp_path / "lock")), [task], tick_s=0.001)
    scheduler.start()
    assert moved.wait(20)
    scheduler.stop()
    assert db.scalars(select(Order.mode)).one() == "MANUAL"
