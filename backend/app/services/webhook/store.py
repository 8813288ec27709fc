"""The fourth stage of a delivery: its rows, stored in a single transaction, exactly once.

The unique index on `orders.client_order_id` decides between simultaneous copies: the loser's whole
transaction is rolled back and it answers with the winner's ids. A delivery that is known by its content
alone is a copy only for a while; later it is a signal of its own, and takes the key over from the earlier
order within the same transaction. An AUTO order is committed before it is dispatched, because no
transaction may be open while a broker is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import Alert, Order
from app.services.shared.bulk import changed_rows
from app.services.shared.system_events import insert_system_event, record_system_event
from app.services.webhook.decide import (
    Signal,
    alert_values,
    closing_event,
    copy_event,
    default_user_event,
    order_values,
)
from app.services.webhook.lookup import Duplicate, find_earlier
from app.services.webhook.receive import Event


@dataclass(frozen=True)
class Stored:
    """The rows of a new signal."""

    alert: Alert
    order: Order


def store_signal(db: Session, signal: Signal, create_order: Callable[..., Order]) -> Stored | Duplicate:
    """Insert the rows of a signal, or note that it is a copy. Commits in either case."""
    if not signal.is_copy_at(utc_now()):
        try:
            stored = insert_rows(db, signal, create_order)
            db.commit()
            return stored
        except IntegrityError:
            db.rollback()
            signal = replace(signal, earlier=find_earlier(db, signal.key))
            if not signal.is_copy_at(utc_now()):
                raise
    assert signal.earlier is not None
    insert_copy(db, signal, signal.earlier)
    db.commit()
    return signal.earlier


def insert_rows(db: Session, signal: Signal, create_order: Callable[..., Order]) -> Stored:
    """Put alert, order and events of a new signal into the caller's transaction.

    Raises IntegrityError when another order has the key.
    """
    if signal.earlier is not None:
        _take_key_over(db, signal.key, signal.earlier)
    alert = Alert(**alert_values(signal))
    db.add(alert)
    db.flush()
    order = create_order(db, alert, **order_values(signal), commit=False)
    insert_event(db, signal, default_user_event(signal))
    if signal.review_note:
        order.error_message = signal.review_note
    if signal.mode == "MANUAL":
        insert_event(db, signal, closing_event(signal, alert.id, order.id))
    return Stored(alert, order)


def insert_copy(db: Session, signal: Signal, found: Duplicate) -> None:
    """Put the events of a copy into the caller's transaction."""
    insert_event(db, signal, default_user_event(signal))
    insert_event(db, signal, copy_event(signal, found))


def insert_event(db: Session, signal: Signal, event: Event | None) -> None:
    """Put an event of the signal, if there is one, into the caller's transaction."""
    if event is not None:
        insert_system_event(
            db,
            level=event.level,
            category=event.category,
            message=event.message,
            correlation_id=signal.correlation_id,
            details=event.details,
        )


def record_event(db: Session, event: Event, correlation_id: str | None) -> None:
    """Store an event of a delivery that has no other rows; commits."""
    record_system_event(
        db,
        level=event.level,
        category=event.category,
        message=event.message,
        correlation_id=correlation_id,
        details=event.details,
    )


def _take_key_over(db: Session, key: str, earlier: Duplicate) -> None:
    """Leave the key to the new order; the earlier one keeps it with its id behind.

    When somebody else has just taken it over, nothing is changed and the unique index decides.
    """
    release = update(Order).where(Order.id == earlier.order_id, Order.client_order_id == key)
    # The order itself does not change: its time of change stays.
    values = {"client_order_id": f"{key}#{earlier.order_id}", "updated_at": Order.updated_at}
    changed_rows(db, release.values(values))
