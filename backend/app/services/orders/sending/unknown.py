"""Orders of which nobody knows whether a broker has taken them: the broker is asked, the order is not sent again.

An order stays SENDING when its call timed out, or when its process or database died before the outcome was stored.
Once no call can be under way any more, the broker is asked for the order's idempotency key:

- it has the order: SENT, with the broker's id;
- it has no such order: the manual queue, and a person decides, because the signal is old by now;
- it cannot say (no connection, no such call): asked again every minute; after `GIVE_UP_AFTER` the manual queue, with
  a message that says what to look for.

Every process looks. Each update names the state and the call that it expects, so one of them moves an order, and none
ends a call that began after it looked.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from fastapi import HTTPException
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.models import Order
from app.services.brokers.clients import FindsOrders, idempotency_key, shown_name
from app.services.brokers.outside import OUTSIDE
from app.services.orders.sending.asked import UNKNOWN_AFTER, move, store_placed
from app.services.shared.system_events import add_system_event

logger = logging.getLogger(__name__)
GIVE_UP_AFTER: Final = timedelta(minutes=10)
MISSING: Final = (
    "{name} was asked for this order and does not have it; moved to Waiting Queue. It was not sent again."
)
UNKNOWN: Final = (
    "Nobody knows whether {name} has this order; moved to Waiting Queue. "
    "Look there for {key} before executing it."
)


class Found(StrEnum):
    """What became of an order whose outcome was unknown."""

    PLACED = "placed"  # the broker has it
    MISSING = "missing"  # the broker does not have it
    SILENT = "silent"  # the broker cannot say now
    MOVED = "moved"  # somebody else has settled it meanwhile


def settle_unknown(db: Session, settings: Settings) -> dict[int, Found]:
    """Ask brokers for every order whose outcome is unknown; commits. What was found, by order id."""
    left = (
        Order.status == "SENDING",
        Order.synthetic_gtt.is_(False),  # such an order is SENDING before a broker is asked
        Order.simulated.is_(False),
        Order.broker_order_id.is_(None),
        Order.updated_at < utc_now() - UNKNOWN_AFTER,
    )
    orders = db.scalars(select(Order).where(*left).order_by(Order.id)).all()
    return {order.id: settle(db, settings, order) for order in orders}


def settle(db: Session, settings: Settings, order: Order) -> Found:
    """Ask the broker for one SENDING order and write what it says; commits.

    The caller knows that no call for the order can be under way.
    """
    asked_at = order.updated_at
    db.commit()
    found = _ask(db, settings, order)
    name, key = shown_name(order.broker_name), idempotency_key(order)
    if isinstance(found, tuple):
        stored = store_placed(db, order, *found, correlation_id=None)
        return Found.PLACED if stored else Found.MOVED
    if found is Found.SILENT and utc_now() - asked_at < GIVE_UP_AFTER:
        return found
    message = (MISSING if found is Found.MISSING else UNKNOWN).format(name=name, key=key)
    return found if _hand_over(db, order, message, asked_at) else Found.MOVED


def _ask(db: Session, settings: Settings, order: Order) -> tuple[str, str | None] | Found:
    """The broker's id of the order and its account, or why there is none."""
    try:
        client = OUTSIDE.client_for(db, settings, order.broker_name, user_id=order.user_id)
    except HTTPException as refused:
        logger.warning("order %s: its broker cannot be asked for it: %s", order.id, refused.detail)
        return Found.SILENT
    finally:
        db.commit()
    if not isinstance(client, FindsOrders):
        return Found.SILENT
    try:
        broker_order_id = client.find_order(idempotency_key(order))
    except Exception as error:  # whatever breaks in a client, it says nothing about the order
        logger.warning("order %s: its broker cannot say whether it has it: %s", order.id, error)
        return Found.SILENT
    return (broker_order_id, client.account_id) if broker_order_id else Found.MISSING


def _hand_over(db: Session, order: Order, message: str, asked_at: datetime) -> bool:
    values = {"mode": "MANUAL", "error_message": message}
    if not move(db, order, "SENDING", "WAITING", utc_now(), asked_by=asked_at, **values):
        db.rollback()
        return False
    details = {"order_id": order.id, "symbol": order.symbol, "reason": message}
    add_system_event(
        db, level="WARNING", category="order", message="Order of unknown outcome moved to waiting queue",
        details=details,
    )  # fmt: skip
    db.commit()
    return True
