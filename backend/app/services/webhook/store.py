"""The fourth stage of deliveries: their rows, stored exactly once.

The unique index on `orders.client_order_id` decides between simultaneous copies. A delivery that is known by
its content alone is a copy only for a while; later it is a signal of its own, and takes the key over from the
earlier order within the same transaction. An AUTO order is committed before it is dispatched, because no
transaction may be open while a broker is asked. Nothing here commits: one transaction holds the rows of a
whole group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import Alert, Order
from app.services.orders.rows import order_row
from app.services.shared.bulk import changed_rows, insert_many
from app.services.webhook.decide import Signal, alert_values, order_values
from app.services.webhook.lookup import Duplicate

_ALERTS, _ORDERS = Alert.__table__, Order.__table__
_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class Stored:
    """The ids of the rows of a new signal."""

    alert_id: int
    order_id: int


def insert_signals(db: Session, signals: Sequence[Signal]) -> list[Stored]:
    """Put alerts and orders of new signals into the caller's transaction, in the order of the signals.

    Raises IntegrityError when another order has one of the keys.
    """
    connection = db.connection()
    for signal in sorted(signals, key=lambda signal: signal.key):
        if signal.earlier is not None:
            _take_key_over(db, signal.key, signal.earlier)
    now = utc_now()
    times = [now + number * _INSTANT for number in range(len(signals))]
    alert_ids = insert_many(
        connection, _ALERTS, [_alert_row(*pair) for pair in zip(signals, times, strict=True)]
    )
    rows = [_order_row(*triple) for triple in zip(signals, alert_ids, times, strict=True)]
    order = range(len(rows))
    if connection.dialect.name == "postgresql":
        # Two processes that insert the same keys wait for each other in one direction only.
        order = sorted(order, key=lambda number: signals[number].key)  # type: ignore[assignment]
    order_ids = dict(
        zip(order, insert_many(connection, _ORDERS, [rows[number] for number in order]), strict=True)
    )
    return [Stored(alert_id, order_ids[number]) for number, alert_id in enumerate(alert_ids)]


def insert_by(db: Session, signal: Signal, create_order: Callable[..., Order]) -> Stored:
    """The same for one signal, its order made by a function that replaces the application's."""
    if signal.earlier is not None:
        _take_key_over(db, signal.key, signal.earlier)
    alert = Alert(**alert_values(signal))
    db.add(alert)
    db.flush()
    order = create_order(db, alert, **order_values(signal), commit=False)
    if signal.review_note:
        order.error_message = signal.review_note
    db.flush()
    return Stored(alert.id, order.id)


def _alert_row(signal: Signal, now: datetime) -> dict[str, Any]:
    return {**alert_values(signal), "received_at": now}


def _order_row(signal: Signal, alert_id: int, now: datetime) -> dict[str, Any]:
    alert, values = signal.normalized, order_values(signal)
    row = order_row(
        strategy_id=signal.routing.strategy_id,
        symbol=alert.symbol_display,
        exchange=alert.broker_exchange,
        side=alert.side,
        qty=alert.qty,
        price=alert.price,
        **values,
    )
    return {
        "alert_id": alert_id,
        **row,
        "synthetic_gtt": False,
        "error_message": signal.review_note,
        "created_at": now,
        "updated_at": now,
    }


def _take_key_over(db: Session, key: str, earlier: Duplicate) -> None:
    """Leave the key to the new order; the earlier one keeps it with its id behind.

    When somebody else has just taken it over, nothing is changed and the unique index decides.
    """
    release = update(Order).where(Order.id == earlier.order_id, Order.client_order_id == key)
    # The order itself does not change: its time of change stays.
    values = {"client_order_id": f"{key}#{earlier.order_id}", "updated_at": Order.updated_at}
    changed_rows(db, release.values(values))
