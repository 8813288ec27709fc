"""The queue of orders: each stored AUTO order is a job, in the transaction that stores it.

Exits come before entries. A job has a time after which it is not sent any more: an order that reaches a broker
much later than its signal may do harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import Table, exists, literal_column, select, update
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import Order, OrderJob
from app.services.orders.sending.asked import UNKNOWN_AFTER
from app.services.shared.bulk import changed_rows, insert_many
from app.services.shared.jobs.claim import announce
from app.services.shared.jobs.queue import OPEN, PENDING, Queue

EXIT, ENTRY = 0, 10
_TABLE = OrderJob.__table__
assert isinstance(_TABLE, Table)
ORDERS: Final = Queue(
    name="orders",
    table=_TABLE,
    turn=("priority", "id"),
    # When it is over, no call that began in time can be under way.
    lease=UNKNOWN_AFTER,
    priorities={rank: _TABLE.c.priority == literal_column(str(rank)) for rank in (EXIT, ENTRY)},
)
HAS_OPEN_JOB = exists().where(OrderJob.order_id == Order.id, OrderJob.status.in_(OPEN))


def enqueue_orders(db: Session, orders: Sequence[tuple[int, bool, dict[str, Any]]], max_age_s: float) -> None:
    """Put jobs into the caller's transaction: order id, whether it is an exit, and what the dispatch depends on."""
    now = utc_now()
    rows = [_row(*order, now=now, max_age_s=max_age_s) for order in orders]
    if rows:
        insert_many(db.connection(), ORDERS.table, rows)
        announce(db, ORDERS)


def _row(
    order_id: int, is_exit: bool, payload: dict[str, Any], now: datetime, max_age_s: float
) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "status": PENDING,
        "priority": EXIT if is_exit else ENTRY,
        "payload_json": to_json(payload).decode(),
        "expires_at": now + timedelta(seconds=max_age_s),
        "attempts": 0,
        "max_attempts": 5,
        "created_at": now,
        "updated_at": now,
    }


def make_ready(db: Session, job_id: int) -> bool:
    """Take the order of a repeated job out of the manual queue; False if it neither waits nor is in doubt."""
    order_id = select(OrderJob.order_id).where(OrderJob.id == job_id).scalar_subquery()
    waits = (Order.id == order_id, Order.status == "WAITING", Order.broker_order_id.is_(None))
    ready = update(Order).where(*waits).values(mode="AUTO", error_message=None, updated_at=utc_now())
    if changed_rows(db, ready):
        return True
    return db.scalar(select(Order.status).where(Order.id == order_id)) == "SENDING"
