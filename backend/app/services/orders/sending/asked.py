"""A broker is asked once: what an order says before, while and after it is asked.

    WAITING --asked--> SENDING --placed--> SENT          the usual way
                       SENDING --refused-> FAILED        the broker has not taken the order
                       SENDING --?                       nobody knows: the call timed out, or the process died
                       SENDING --found---> SENT          the broker was asked for the order's key and has it
                       SENDING --missing-> WAITING       it has no such order: a person decides

Safety order: SENDING is committed before the broker is called, by an update that names the state it expects, so of two
that want to send an order one does. Each call begins within `BEGIN_WITHIN` of that, or not at all. Only after `UNKNOWN_AFTER`,
when no call can be under way, the broker is asked for the order's idempotency key; the order itself is not sent again.

A synthetic GTT order comes here as SENDING already: what watches its trigger has taken it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import HTTPException
from sqlalchemy import ColumnElement, or_, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed

from app.core.time_utils import utc_now
from app.db.session.engines import is_unavailable
from app.models import Order
from app.services.brokers.clients import CALL_AT_MOST_S, idempotency_key
from app.services.orders.sending.closing import closing_rows
from app.services.shared.bulk import Row, changed_rows
from app.services.shared.system_events import event_row, insert_events

KEEP_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # long before `UNKNOWN_AFTER`
BEGIN_WITHIN: Final = timedelta(seconds=10)
UNKNOWN_AFTER: Final = BEGIN_WITHIN + timedelta(seconds=CALL_AT_MOST_S + 20)  # 20 s for clocks that differ
NOT_WAITING: Final = "Only non-simulated WAITING orders can be executed."
TOO_SLOW: Final = "The database took too long to note that the order is sent. The order was not sent."


class AskedInVain(HTTPException):
    """A broker was asked and nobody knows whether it has taken the order; answered 504."""

    def __init__(self, name: str, order: Order) -> None:
        key = idempotency_key(order)
        super().__init__(
            504,
            f"{name} did not say whether it has taken the order. It is looked for under {key}; do not repeat it.",
        )


class NotMine(Exception):
    """Somebody else has taken over what was to be sent."""


def always(db: Session) -> bool:
    """Nobody else can have taken it over."""
    return True


def begin_asking(db: Session, order: Order, still_mine: Callable[[Session], bool] = always) -> None:
    """Commit that a broker is asked for the order now.

    Raises:
        NotMine: `still_mine`, asked in the same transaction, says no.
        HTTPException: 400, somebody else has taken the order; 503, the commit took too long, and it was taken back.
    """
    if not still_mine(db):
        db.rollback()
        raise NotMine(f"order {order.id}")
    from_status, asked_at = order.status, utc_now()
    if not move(db, order, from_status, "SENDING", asked_at):
        db.rollback()
        raise HTTPException(400, NOT_WAITING)
    db.commit()
    if not may_begin(order):
        move(db, order, "SENDING", from_status, utc_now(), asked_by=asked_at)
        db.commit()
        raise HTTPException(503, TOO_SLOW)


def may_begin(order: Order) -> bool:
    """Whether a call for a SENDING order may still begin."""
    return utc_now() - order.updated_at <= BEGIN_WITHIN


def move(
    db: Session,
    order: Order,
    start: str,
    end: str,
    now: datetime,
    *,
    asked_by: datetime | None = None,
    **more: Any,
) -> bool:
    """Move an order without a broker's id from one status to another; False if it is not in the first one.

    Args:
        asked_by: the caller means the broker call of this time; False if a later one has begun.
    """
    expected = [Order.status == start, Order.broker_order_id.is_(None)]
    if asked_by is not None:
        expected.append(Order.updated_at <= asked_by)
    return _write(db, order, {"status": end, "updated_at": now, **more}, *expected)


def store_placed(
    db: Session, order: Order, broker_order_id: str, account_id: str | None, correlation_id: str | None
) -> bool:
    """Write what the broker has answered, whatever the order says by now, with the event that ends its signal; commits.

    False, and nothing is written, if the order has this id already: somebody else has stored it, with its events.
    """
    values = placed_values(order, broker_order_id, account_id, utc_now())
    if not _write(db, order, values, is_new(broker_order_id)):
        db.rollback()
        db.refresh(order)
        db.commit()
        return False
    sent = sent_event(order, broker_order_id, correlation_id)
    insert_events(db, [sent, *closing_rows(db, order, correlation_id)])
    db.commit()
    return True


def keep_placed(
    db: Session, order: Order, broker_order_id: str, account_id: str | None, correlation_id: str | None
) -> bool:
    """`store_placed`, tried again while the database is away or locked: nobody else has heard the broker's answer."""
    tries = Retrying(
        retry=retry_if_exception(is_unavailable),
        wait=wait_chain(*map(wait_fixed, KEEP_PAUSES_S)),
        stop=stop_after_attempt(len(KEEP_PAUSES_S) + 1),
        before_sleep=lambda _: db.rollback(),
        reraise=True,
    )
    return tries(store_placed, db, order, broker_order_id, account_id, correlation_id)


def is_new(broker_order_id: Any) -> ColumnElement[bool]:
    """Whether an order does not have this id of the broker yet."""
    return or_(Order.broker_order_id.is_(None), Order.broker_order_id != broker_order_id)


def placed_values(order: Order, broker_order_id: str, account_id: str | None, now: datetime) -> Row:
    """What an order says once a broker has taken it."""
    return {
        "status": "SENT",
        "broker_order_id": broker_order_id,
        "zerodha_order_id": broker_order_id if order.broker_name == "zerodha" else None,
        "broker_account_id": account_id,
        "error_message": None,
        "updated_at": now,
    }


def sent_event(order: Order, broker_order_id: str, correlation_id: str | None) -> Row:
    """The row of the event that tells of it."""
    details = {
        "order_id": order.id, "broker_name": order.broker_name, "broker_order_id": broker_order_id,
        "symbol": order.symbol, "side": order.side, "qty": order.qty,
    }  # fmt: skip
    return event_row("INFO", "order", f"Order sent to {order.broker_name}", correlation_id, details)


def _write(db: Session, order: Order, values: Row, *expected: ColumnElement[bool]) -> bool:
    """Write into the row, not through the object: what the object remembers may be out of date."""
    if not changed_rows(db, update(Order).where(Order.id == order.id, *expected).values(values)):
        return False
    for name, value in values.items():
        set_committed_value(order, name, value)
    return True
