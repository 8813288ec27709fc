"""Rows of the queue of orders for tests, and workers that claim them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import Order, OrderJob
from app.services.orders.rows import order_row
from app.services.orders.sending.jobs import ORDERS, enqueue_orders
from app.services.shared.bulk import insert_many
from app.services.shared.jobs.claim import claim, finish
from app.services.shared.jobs.queue import Floors
from tests.backend.api.api_values import WEBHOOK_SECRET

Sessions = Callable[[], Session]
BUY: dict[str, Any] = {
    "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": "NSE:TCS",
    "order_id": "L-1", "bar_time": "2026-01-27T05:45:00Z",
    "trade_details": {"order_action": "BUY", "quantity": 3},
}  # fmt: skip


def payload(order_id: int, **more: Any) -> dict[str, Any]:
    """What the dispatch of an order depends on, as the door writes it."""
    usual = {"from_strategy": False, "execution_target": "LIVE", "fallback_to_waiting": True,
             "correlation_id": None, "closing": {"order_id": order_id}}  # fmt: skip
    return {"alert_id": 0, "order_id": order_id, **usual, **more}


def add_jobs(
    db: Session, number: int, *, user_id: int | None = None, exits: int = 0, **more: Any
) -> list[int]:
    """Orders with a job each, the first ones exits; the ids of the orders. Commits."""
    now = utc_now()
    rows = [
        order_row(
            user_id=user_id, strategy_id=None, symbol="NSE:TCS", exchange="NSE", side="BUY", qty=1.0, price=None,
            mode="AUTO", product="MIS", order_type="MARKET", broker_name="zerodha", execution_target="LIVE",
            client_order_id=f"k{now.timestamp()}-{place}", is_exit=place < exits,
        ) | {"synthetic_gtt": False, "created_at": now, "updated_at": now}
        for place in range(number)
    ]  # fmt: skip
    ids: list[int] = []
    for start in range(0, number, 500):
        part = insert_many(db.connection(), Order.__table__, rows[start : start + 500])  # type: ignore[arg-type]
        jobs = [(id, start + place < exits, payload(id, **more)) for place, id in enumerate(part)]
        enqueue_orders(db, jobs, 600)
        ids += part
    db.commit()
    return ids


def drain(sessions: Sessions, workers: int, batch: int) -> list[int]:
    """Ids of the jobs in the order in which so many workers have done them; each has its own floors."""
    done: list[int] = []
    together = threading.Barrier(workers)

    def work(number: int) -> None:
        floors = Floors()
        together.wait()
        while True:
            try:
                with sessions() as db:
                    ids = claim(db, ORDERS, f"w{number}", batch, floors=floors)
                    db.commit()
                    for id in ids:
                        assert finish(db, ORDERS, id, f"w{number}")
                    db.commit()
            except OperationalError:  # SQLite's lock, under load
                continue
            done.extend(ids)
            if not ids and not _open(sessions):
                return

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return done


def _open(sessions: Sessions) -> bool:
    with sessions() as db:
        return db.scalar(select(OrderJob.id).where(OrderJob.status == "PENDING").limit(1)) is not None


def orders_of(db: Session) -> list[tuple[str, str]]:
    """Status and mode of every order."""
    db.rollback()
    return [tuple(row) for row in db.execute(select(Order.status, Order.mode).order_by(Order.id))]  # type: ignore[misc]


def jobs_of(db: Session) -> list[str]:
    """The status of every job."""
    db.rollback()
    return list(db.scalars(select(OrderJob.status).order_by(OrderJob.id)))
