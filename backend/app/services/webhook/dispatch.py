"""The last stage of a signal: the AUTO order that was stored is executed, or put aside for a person.

A `Dispatch` is all that this stage needs of the signal. It can wait in the queue as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fastapi import HTTPException
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.models import Order
from app.services.brokers.clients import BrokerError, shown_name
from app.services.orders.execution import Execution, execute_stored_order
from app.services.orders.rows import copy_to_waiting_queue
from app.services.orders.sending.asked import NOT_WAITING, AskedInVain, always, move
from app.services.orders.sending.closing import closing_row
from app.services.shared.bulk import Row, changed_rows
from app.services.shared.system_events import add_system_event, insert_events
from app.services.webhook.decide import Signal, closing_event
from app.services.webhook.store import Stored

MARKET_CLOSED: Final = "AUTO(PAPER) dispatch skipped: market is closed. Moved to Waiting Queue."
FALLBACK_REASON: Final = "AUTO dispatch failed. Moved to Waiting Queue."
PENDING: Final = {"dispatch": "PENDING"}  # the order is stored, and how its dispatch ends is not known yet
QUEUED: Final = {"dispatch": "QUEUED"}  # the order is stored, and a worker sends it
_TAKEN: Final = frozenset({"SENDING", "SENT", "OPEN", "EXECUTED", "CANCELLED"})


def accepted(stored: Stored) -> dict[str, Any]:
    """The plain answer to a stored delivery."""
    ids = {"id": stored.alert_id, "alert_id": stored.alert_id, "order_id": stored.order_id}
    return {**ids, "status": "accepted"}


@dataclass(frozen=True)
class Claim:
    """What a worker of the queue adds to a dispatch; without a queue nothing.

    Args:
        still_mine: whether the claim holds, in the transaction that notes that a broker is asked.
        end: marks the job as done, in the transaction that ends the dispatch.
    """

    still_mine: Callable[[Session], bool] = always
    end: Callable[[Session], object] = always


UNCLAIMED: Final = Claim()


@dataclass(frozen=True)
class Dispatch:
    """What the dispatch of a stored order depends on. `closing` are the details of the event that ends the signal."""

    alert_id: int
    order_id: int
    from_strategy: bool
    execution_target: str
    fallback_to_waiting: bool
    correlation_id: str | None
    closing: dict[str, Any]

    @classmethod
    def of(cls, signal: Signal, stored: Stored) -> Dispatch:
        """That of a signal whose order was just stored."""
        routing = signal.routing
        return cls(
            alert_id=stored.alert_id,
            order_id=stored.order_id,
            from_strategy=routing.from_strategy,
            execution_target=routing.execution_target,
            fallback_to_waiting=routing.fallback_to_waiting,
            correlation_id=signal.correlation_id,
            closing=closing_event(signal, stored.alert_id, stored.order_id).details,
        )

    @property
    def stored(self) -> Stored:
        """The ids of the signal's rows."""
        return Stored(self.alert_id, self.order_id)

    @property
    def closing_row(self) -> Row:
        """The row of the event that ends the signal."""
        return closing_row(self.closing, self.correlation_id)


def dispatch_auto(
    db: Session,
    settings: Settings,
    what: Dispatch,
    *,
    market_is_open: Callable[[], bool],
    claim: Claim = UNCLAIMED,
) -> dict[str, Any]:
    """Dispatch a stored AUTO order and return the answer.

    Raises the HTTPException of the execution when the order is not put into the waiting queue instead, and
    `NotMine` when the claim is lost before a broker is asked.
    """
    order = db.get_one(Order, what.order_id)
    if not what.from_strategy and what.execution_target == "PAPER" and not market_is_open():
        order.mode = "MANUAL"
        order.error_message = MARKET_CLOSED
    else:
        try:
            execute_stored_order(db, settings, order.id, what.correlation_id, claim.still_mine)
        except AskedInVain:
            return accepted(what.stored) | PENDING
        except HTTPException as failure:
            return _after_failure(db, what, order, failure, claim)
        claim.end(db)
        db.commit()
        return accepted(what.stored)
    insert_events(db, [what.closing_row])
    claim.end(db)
    db.commit()
    return accepted(what.stored)


def after_refusal(
    db: Session, settings: Settings, what: Dispatch, order: Order, asked_at: datetime, error: BrokerError
) -> dict[str, Any]:
    """Store that the broker has not taken an order of which it was asked, and return the answer.

    Raises the HTTPException of the refusal when the order is not put into the waiting queue instead.
    """
    try:
        Execution(db, settings, what.correlation_id).refused(order, asked_at, error)
    except HTTPException as failure:
        return _after_failure(db, what, order, failure, UNCLAIMED)


def _after_failure(
    db: Session, what: Dispatch, order: Order, failure: HTTPException, claim: Claim
) -> dict[str, Any]:
    if what.from_strategy:
        if failure.status_code == 400 and "is not connected" in str(failure.detail):
            message = f"{shown_name(order.broker_name)} is not connected for AUTO mode."
            move(db, order, "WAITING", "FAILED", utc_now(), error_message=message)
            db.commit()
        _note_failure(db, order, failure)
        raise failure
    if not may_move_to_waiting(what, order):
        _note_failure(db, order, failure)
        raise failure
    return move_to_waiting(db, what, order, str(failure.detail), claim)


def _note_failure(db: Session, order: Order, failure: HTTPException) -> None:
    """Write the reason on an order that stays as it is, which also says that its dispatch has ended."""
    if order.status == "WAITING" and not order.error_message:
        order.error_message = str(failure.detail)
        db.commit()


def may_move_to_waiting(what: Dispatch, order: Order) -> bool:
    """Whether an order that failed gets a copy in the waiting queue: it never left, nobody cancelled it, and its user wants that."""
    has_broker_id = order.broker_order_id or order.zerodha_order_id
    never_left = not order.simulated and not has_broker_id and order.status not in _TAKEN
    return what.fallback_to_waiting and not what.from_strategy and never_left


def put_aside(db: Session, order_id: int, reason: str, correlation_id: str | None = None) -> None:
    """Leave an order that nobody has touched to a person, in the caller's transaction."""
    untouched = (Order.id == order_id, Order.status == "WAITING", Order.mode == "AUTO")
    values = {"mode": "MANUAL", "error_message": reason, "updated_at": utc_now()}
    if changed_rows(db, update(Order).where(*untouched).values(values)):
        _tell_moved(db, correlation_id, {"order_id": order_id, "reason": reason})


def take_back(db: Session, what: Dispatch, asked_at: datetime, reason: str) -> bool:
    """Leave to a person an order that is SENDING since then, and of which no broker was asked; in the caller's transaction.

    False if it is not in that state any more: somebody else has settled it.
    """
    order = db.get_one(Order, what.order_id)
    values = {"mode": "MANUAL", "error_message": reason}
    moved = move(db, order, "SENDING", "WAITING", utc_now(), asked_by=asked_at, **values)
    if moved:
        _tell_moved(db, what.correlation_id, {"order_id": what.order_id, "reason": reason})
    return moved


def move_to_waiting(db: Session, what: Dispatch, order: Order, detail: str, claim: Claim) -> dict[str, Any]:
    """Put a copy of a failed order into the waiting queue; commits. HTTPException 400 if somebody has just taken it."""
    if order.status == "WAITING" and not move(
        db, order, "WAITING", "FAILED", utc_now(), error_message=detail
    ):
        db.rollback()
        raise HTTPException(400, NOT_WAITING)
    copy = copy_to_waiting_queue(db, order, FALLBACK_REASON)
    details = {
        "source_order_id": order.id,
        "queue_order_id": copy.id,
        "symbol": order.symbol,
        "reason": detail,
        "broker_name": order.broker_name,
    }
    _tell_moved(db, what.correlation_id, details)
    claim.end(db)
    db.commit()
    answer = accepted(what.stored)
    return {**answer, "order_id": copy.id, "original_order_id": order.id, "dispatch": "WAITING"}


def _tell_moved(db: Session, correlation_id: str | None, details: dict[str, Any]) -> None:
    add_system_event(
        db,
        level="WARNING",
        category="order",
        message="AUTO order moved to waiting queue",
        correlation_id=correlation_id,
        details=details,
    )
