"""The manual queue: which orders may come back to it, and what the broker has done with the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import HTTPException
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Order, User
from app.services.orders.rows import copy_to_waiting_queue
from app.services.shared.system_events import add_system_event

_AT_BROKER: Final = ("SENT", "OPEN", "EXECUTED", "PARTIALLY_EXECUTED")
_REQUEUABLE: Final = ("WAITING", "FAILED", "REJECTED_RISK", "CANCELLED")


def check_requeue(order: Order, user: User) -> None:
    """HTTPException 400 or 403 when the user may not put this order back into the queue."""
    if order.user_id != user.id:
        raise HTTPException(403, "Forbidden")
    if order.simulated:
        raise HTTPException(400, "Simulated/PAPER orders cannot be moved to the manual queue.")
    if order.broker_order_id or order.zerodha_order_id:
        raise HTTPException(400, "Order already has a broker order id; cannot move to waiting queue.")
    if order.status in _AT_BROKER:
        raise HTTPException(400, f"Order status {order.status} cannot be moved to waiting queue.")
    if order.status not in _REQUEUABLE:
        allowed = "/".join(_REQUEUABLE)
        raise HTTPException(400, f"Only {allowed} orders can be requeued; got {order.status}.")


def requeue_with_event(db: Session, order: Order, correlation_id: str | None) -> Order:
    """Copy the order into the queue and note it, in one commit; returns the copy."""
    copy = copy_to_waiting_queue(db, order)
    add_system_event(
        db,
        level="INFO",
        category="order",
        message="Order requeued to waiting queue",
        correlation_id=correlation_id,
        details={
            "source_order_id": order.id,
            "queue_order_id": copy.id,
            "symbol": order.symbol,
            "status": order.status,
        },
    )
    db.commit()
    return copy


def sync_order_statuses(db: Session, broker_name: str, statuses: Mapping[str, str]) -> int:
    """Write the broker's statuses to the orders that differ; commits and returns how many did."""
    query = select(Order).where(Order.broker_name == broker_name, Order.broker_order_id.in_(list(statuses)))
    changed = 0
    for order in db.scalars(query.order_by(Order.id)):
        status = statuses[order.broker_order_id or ""]
        if order.status != status:
            order.status = status
            changed += 1
    db.commit()
    return changed
