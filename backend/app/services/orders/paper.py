"""Simulated execution: orders that never reach a broker.

Each outcome is an update that names the state which it expects. Of two that execute an order, one does.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import HTTPException
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.models import Order
from app.services.brokers.clients import BrokerClient, BrokerError, NotConnected, connected_client
from app.services.orders.sending.asked import NOT_WAITING, move
from app.services.orders.sending.closing import closing_rows
from app.services.shared.system_events import add_system_event, insert_events
from app.services.shared.turns import DISPATCHES

MARKET_CLOSED: Final = "Paper order rejected: market is closed. Please place during trading hours or use GTT."


def price_client(db: Session, settings: Settings, user_id: int | None) -> BrokerClient | None:
    """A client that knows last prices, None when there is none."""
    if not settings.zerodha_api_key:
        return None
    try:
        return connected_client(db, settings, "zerodha", user_id)
    except NotConnected:
        return None


def last_price_of(client: BrokerClient | None, order: Order) -> float | None:
    """The last price of the order's instrument in rupees, None when it cannot be had."""
    if client is None:
        return None
    symbol = order.symbol.partition(":")[2] or order.symbol
    try:
        return client.last_price(order.exchange or "NSE", symbol)
    except BrokerError:
        return None


def submit_paper_order(
    db: Session, settings: Settings, order: Order, *, correlation_id: str | None = None
) -> Order:
    """Take the order into the simulation: a MARKET order is filled at the last price if one is known.

    Ends the session's transaction before the price is asked for; commits. HTTPException 400 if somebody else has
    taken the order meanwhile.
    """
    fill = None
    if order.order_type == "MARKET":
        client = price_client(db, settings, order.user_id)
        db.commit()
        DISPATCHES.give_back()
        fill = last_price_of(client, order)
    price = {} if fill is None else {"price": fill}
    _end(db, order, "SENT" if fill is None else "EXECUTED", error_message=None, **price)
    message = "Paper order submitted" if fill is None else "Paper order executed (market)"
    _add_event(db, order, "INFO", message, correlation_id)
    db.flush()
    insert_events(db, closing_rows(db, order, correlation_id))
    db.commit()
    return order


def reject_paper_order(db: Session, order: Order, *, correlation_id: str | None = None) -> None:
    """Fail the order because the market is closed; commits. HTTPException 400 if somebody else has taken it."""
    _end(db, order, "FAILED", error_message=MARKET_CLOSED)
    _add_event(db, order, "WARNING", "Paper order rejected: market closed", correlation_id)
    db.commit()


def _end(db: Session, order: Order, status: str, **values: Any) -> None:
    if not move(db, order, order.status, status, utc_now(), simulated=True, **values):
        db.rollback()
        raise HTTPException(400, NOT_WAITING)


def _add_event(db: Session, order: Order, level: str, message: str, correlation_id: str | None) -> None:
    details = {"order_id": order.id, "symbol": order.symbol, "side": order.side, "qty": order.qty}
    add_system_event(
        db, level=level, category="paper", message=message, correlation_id=correlation_id, details=details
    )
