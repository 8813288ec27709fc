"""Fills simulated orders at the last price once their limit or trigger is reached."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import Order
from app.services.brokers.clients import BrokerClient
from app.services.orders.paper import last_price_of
from app.services.orders.sending.asked import move
from app.services.shared.system_events import add_system_event


def fill_reached_orders(db: Session, client: BrokerClient) -> int:
    """Fill the simulated SENT orders whose price was reached; commits, returns how many.

    Prices are asked for outside of any transaction.
    """
    # The second condition excludes nothing: the index with the status in it begins with this column.
    of_any_kind = Order.synthetic_gtt.in_((False, True))
    waiting = (
        select(Order).where(Order.simulated.is_(True), of_any_kind, Order.status == "SENT").order_by(Order.id)
    )
    orders = db.scalars(waiting).all()
    db.commit()
    prices = {order.id: last_price_of(client, order) for order in orders}
    filled = 0
    for order in orders:
        if not _is_reached(order, prices[order.id]):
            continue
        if not move(db, order, "SENT", "EXECUTED", utc_now(), price=prices[order.id]):
            continue  # somebody else has filled or cancelled it
        filled += 1
        details = {"order_id": order.id, "symbol": order.symbol, "side": order.side, "qty": order.qty}
        add_system_event(db, level="INFO", category="paper", message="Paper order executed", details=details)
    db.commit()
    return filled


def _is_reached(order: Order, last_price: float | None) -> bool:
    """Whether the last price satisfies the limit, or has gone through the trigger of a stop order."""
    if last_price is None:
        return False
    if order.order_type in ("SL", "SL-M"):
        trigger = order.trigger_price
        if trigger is None:
            return False
        return last_price >= trigger if order.side == "BUY" else last_price <= trigger
    if order.order_type == "LIMIT" and order.price is not None:
        return last_price <= order.price if order.side == "BUY" else last_price >= order.price
    return True
