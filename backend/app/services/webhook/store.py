"""Stores one delivery: alert, order and closing event in a single transaction, exactly once.

The unique index on `orders.client_order_id` decides between simultaneous copies: the loser's whole
transaction is rolled back and it answers with the winner's ids. A delivery that is known by its content
alone is a copy only for a while; later it is a signal of its own, and takes the key over from the earlier
order within the same transaction. An AUTO order is committed before it is dispatched, because no
transaction may be open while a broker is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import Alert, Order
from app.schemas.webhook import TradingViewWebhookPayload
from app.services.shared.bulk import changed_rows
from app.services.shared.system_events import insert_system_event
from app.services.webhook.lookup import Duplicate, find_earlier
from app.services.webhook.normalize import NormalizedAlert
from app.services.webhook.routing import Routing

SOURCE: Final = "TRADINGVIEW"


@dataclass
class Delivery:
    """One accepted delivery with everything that was derived from it."""

    payload: TradingViewWebhookPayload
    normalized: NormalizedAlert
    routing: Routing
    key: str
    correlation_id: str | None
    earlier: Duplicate | None = None  # the order that had the key when it was last asked for
    copies_within: timedelta | None = None  # how long an equal key means a copy; None: for ever
    default_user: str | None = None  # name of the user that took an alert without one
    is_exit: bool = False
    review_note: str | None = None  # set: a person has to look at the order, whatever the mode

    @property
    def mode(self) -> str:
        """MANUAL or AUTO, as it applies to this delivery."""
        return "MANUAL" if self.review_note else self.routing.mode

    @property
    def is_copy(self) -> bool:
        """Whether the earlier order was made by the same signal; it was not if it lies too far back."""
        if self.earlier is None or self.copies_within is None:
            return self.earlier is not None
        return utc_now() - self.earlier.created_at < self.copies_within


@dataclass(frozen=True)
class Stored:
    """The rows of a new delivery."""

    alert: Alert
    order: Order


def store_delivery(db: Session, delivery: Delivery, create_order: Callable[..., Order]) -> Stored | Duplicate:
    """Insert the rows of a delivery, or note that it is a copy. Commits in either case."""
    if not delivery.is_copy:
        try:
            return _insert(db, delivery, create_order)
        except IntegrityError:
            db.rollback()
            delivery.earlier = find_earlier(db, delivery.key)
            if not delivery.is_copy:
                raise
    assert delivery.earlier is not None
    return _note_duplicate(db, delivery, delivery.earlier)


def add_closing_event(db: Session, delivery: Delivery, alert: Alert, order: Order) -> None:
    """Put the event that ends an accepted delivery into the caller's transaction."""
    details = {
        "alert_id": alert.id,
        "order_id": order.id,
        "symbol": alert.symbol,
        "action": alert.action,
        "strategy": delivery.payload.strategy_key,
        "mode": delivery.mode,
    }
    _event(db, delivery, "Alert ingested and order created", details)


def _take_key_over(db: Session, key: str, earlier: Duplicate) -> None:
    """Leave the key to the new order; the earlier one keeps it with its id behind.

    When somebody else has just taken it over, nothing is changed and the unique index decides.
    """
    release = update(Order).where(Order.id == earlier.order_id, Order.client_order_id == key)
    # The order itself does not change: its time of change stays.
    values = {"client_order_id": f"{key}#{earlier.order_id}", "updated_at": Order.updated_at}
    changed_rows(db, release.values(values))


def _insert(db: Session, delivery: Delivery, create_order: Callable[..., Order]) -> Stored:
    if delivery.earlier is not None:
        _take_key_over(db, delivery.key, delivery.earlier)
    alert = _new_alert(delivery)
    db.add(alert)
    db.flush()
    normalized, routing = delivery.normalized, delivery.routing
    order = create_order(
        db,
        alert,
        mode=delivery.mode,
        product=normalized.product,
        order_type=normalized.order_type,
        broker_name=routing.broker_name,
        execution_target=routing.execution_target,
        user_id=normalized.user_id,
        client_order_id=delivery.key,
        is_exit=delivery.is_exit,
        commit=False,
    )
    _add_default_user_event(db, delivery)
    if delivery.review_note:
        order.error_message = delivery.review_note
    if delivery.mode == "MANUAL":
        add_closing_event(db, delivery, alert, order)
    db.commit()
    return Stored(alert, order)


def _new_alert(delivery: Delivery) -> Alert:
    normalized = delivery.normalized
    return Alert(
        user_id=normalized.user_id,
        strategy_id=delivery.routing.strategy_id,
        symbol=normalized.symbol_display,
        exchange=normalized.broker_exchange,
        interval=normalized.timeframe,
        action=normalized.side,
        qty=normalized.qty,
        price=normalized.price,
        platform=delivery.payload.platform,
        source=SOURCE,
        raw_payload=normalized.raw_payload,
        reason=normalized.reason,
        bar_time=normalized.bar_time,
    )


def _note_duplicate(db: Session, delivery: Delivery, found: Duplicate) -> Duplicate:
    _add_default_user_event(db, delivery)
    details = {
        "client_order_id": delivery.key,
        "existing_order_id": found.order_id,
        "existing_alert_id": found.alert_id,
    }
    _event(db, delivery, "TradingView webhook deduped (client_order_id already exists)", details)
    db.commit()
    return found


def _add_default_user_event(db: Session, delivery: Delivery) -> None:
    if delivery.default_user is None:
        return
    payload = delivery.payload
    details = {
        "strategy_id": payload.strategy_id,
        "strategy_name": payload.strategy_name,
        "platform": payload.platform,
        "default_user": delivery.default_user,
    }
    _event(db, delivery, "Alert routed to default user (missing st_user_id)", details)


def _event(db: Session, delivery: Delivery, message: str, details: dict[str, Any]) -> None:
    insert_system_event(
        db,
        level="INFO",
        category="alert",
        message=message,
        correlation_id=delivery.correlation_id,
        details=details,
    )
