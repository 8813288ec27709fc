"""The last stage of a signal: the AUTO order that was just stored is executed, or put aside for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import HTTPException
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.models import Order
from app.services.orders.execution import execute_stored_order
from app.services.orders.rows import copy_to_waiting_queue
from app.services.orders.sending.asked import AskedInVain
from app.services.shared.system_events import add_system_event, insert_system_event
from app.services.webhook.decide import Signal, closing_event
from app.services.webhook.store import Stored

MARKET_CLOSED: Final = "AUTO(PAPER) dispatch skipped: market is closed. Moved to Waiting Queue."
FALLBACK_REASON: Final = "AUTO dispatch failed. Moved to Waiting Queue."
PENDING: Final = {"dispatch": "PENDING"}  # the order is stored, and how its dispatch ends is not known yet
_AT_BROKER: Final = frozenset({"SENDING", "SENT", "OPEN", "EXECUTED"})


def accepted(stored: Stored) -> dict[str, Any]:
    """The plain answer to a stored delivery."""
    ids = {"id": stored.alert_id, "alert_id": stored.alert_id, "order_id": stored.order_id}
    return {**ids, "status": "accepted"}


def dispatch_auto(
    db: Session,
    settings: Settings,
    signal: Signal,
    stored: Stored,
    *,
    market_is_open: Callable[[], bool],
) -> dict[str, Any]:
    """Dispatch a stored AUTO order and return the answer.

    Raises the HTTPException of the execution when the order is not put into the waiting queue instead.
    """
    order, routing = db.get_one(Order, stored.order_id), signal.routing
    if not routing.from_strategy and routing.execution_target == "PAPER" and not market_is_open():
        order.mode = "MANUAL"
        order.error_message = MARKET_CLOSED
    else:
        try:
            execute_stored_order(db, settings, order.id, signal.correlation_id)
        except AskedInVain:
            return accepted(stored) | PENDING
        except HTTPException as failure:
            return _after_failure(db, signal, stored, order, failure)
    closing = closing_event(signal, stored.alert_id, order.id)
    insert_system_event(
        db,
        level=closing.level,
        category=closing.category,
        message=closing.message,
        correlation_id=signal.correlation_id,
        details=closing.details,
    )
    db.commit()
    return accepted(stored)


def _after_failure(
    db: Session, signal: Signal, stored: Stored, order: Order, failure: HTTPException
) -> dict[str, Any]:
    routing = signal.routing
    if routing.from_strategy:
        if failure.status_code == 400 and "is not connected" in str(failure.detail):
            name = "Zerodha" if order.broker_name == "zerodha" else order.broker_name
            order.status = "FAILED"
            order.error_message = f"{name} is not connected for AUTO mode."
            db.commit()
        _note_failure(db, order, failure)
        raise failure
    if not routing.fallback_to_waiting or not _never_left(order):
        _note_failure(db, order, failure)
        raise failure
    return _move_to_waiting(db, signal, stored, order, str(failure.detail))


def _note_failure(db: Session, order: Order, failure: HTTPException) -> None:
    """Write the reason on an order that stays as it is, which also says that its dispatch has ended."""
    if order.status == "WAITING" and not order.error_message:
        order.error_message = str(failure.detail)
        db.commit()


def _never_left(order: Order) -> bool:
    has_broker_id = order.broker_order_id or order.zerodha_order_id
    return not order.simulated and not has_broker_id and order.status not in _AT_BROKER


def _move_to_waiting(
    db: Session, signal: Signal, stored: Stored, order: Order, detail: str
) -> dict[str, Any]:
    if order.status == "WAITING":
        order.status = "FAILED"
        order.error_message = detail
    copy = copy_to_waiting_queue(db, order, FALLBACK_REASON)
    add_system_event(
        db,
        level="WARNING",
        category="order",
        message="AUTO order moved to waiting queue",
        correlation_id=signal.correlation_id,
        details={
            "source_order_id": order.id,
            "queue_order_id": copy.id,
            "symbol": order.symbol,
            "reason": detail,
            "broker_name": order.broker_name,
        },
    )
    db.commit()
    answer = accepted(stored)
    return {**answer, "order_id": copy.id, "original_order_id": order.id, "dispatch": "WAITING"}
