"""Order rows: made from an alert, or copied back into the manual queue."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Alert, Order
from app.services.orders.price_ticks import round_price_to_tick

DEFAULT_BROKER: Final = "zerodha"
_COPIED: Final = (
    "user_id", "strategy_id", "portfolio_group_id", "deployment_id", "deployment_action_id",
    "symbol", "exchange", "side", "qty", "price", "order_type", "trigger_price", "trigger_percent",
    "product", "gtt", "synthetic_gtt", "trigger_operator", "execution_target", "broker_name",
    "broker_account_id", "risk_spec_json", "is_exit",
)  # fmt: skip


def order_row(
    *,
    user_id: int | None,
    strategy_id: int | None,
    symbol: str,
    exchange: str | None,
    side: str,
    qty: float | None,
    price: float | None,
    mode: str,
    product: str,
    order_type: str,
    broker_name: str | None,
    execution_target: str | None,
    client_order_id: str | None,
    is_exit: bool,
) -> dict[str, Any]:
    """The values of a WAITING order for an alert: a missing quantity is 0, the price is rounded to the tick."""
    return {
        "user_id": user_id,
        "strategy_id": strategy_id,
        "client_order_id": client_order_id,
        "symbol": symbol,
        "exchange": exchange,
        "side": side,
        "qty": qty or 0.0,
        "price": round_price_to_tick(price),
        "order_type": order_type,
        "product": product,
        "gtt": False,
        "status": "WAITING",
        "mode": mode,
        "execution_target": (execution_target or "LIVE").strip().upper(),
        "broker_name": (broker_name or DEFAULT_BROKER).strip().lower(),
        "simulated": False,
        "is_exit": is_exit,
    }


def create_order_from_alert(
    db: Session,
    alert: Alert,
    *,
    mode: str = "MANUAL",
    product: str = "MIS",
    order_type: str = "MARKET",
    broker_name: str | None = None,
    execution_target: str | None = None,
    user_id: int | None = None,
    client_order_id: str | None = None,
    is_exit: bool = False,
    commit: bool = True,
) -> Order:
    """Insert a WAITING order for a stored alert; with `commit` False it stays in the caller's transaction.

    A missing quantity becomes 0 and the price is rounded to the tick. Raises IntegrityError when an
    order with the same client_order_id exists.
    """
    order = Order(
        alert_id=alert.id,
        **order_row(
            user_id=alert.user_id if user_id is None else user_id,
            strategy_id=alert.strategy_id,
            symbol=alert.symbol,
            exchange=alert.exchange,
            side=alert.action,
            qty=alert.qty,
            price=alert.price,
            mode=mode,
            product=product,
            order_type=order_type,
            broker_name=broker_name,
            execution_target=execution_target,
            client_order_id=client_order_id,
            is_exit=is_exit,
        ),
    )
    db.add(order)
    db.flush()
    if commit:
        db.commit()
    return order


def copy_to_waiting_queue(db: Session, source: Order, reason: str | None = None) -> Order:
    """Add the MANUAL WAITING copy of an order and note it on the source, in the caller's transaction."""
    first_sentence = reason or f"Requeued from order #{source.id}."
    original = f" Original: {source.error_message}" if source.error_message else ""
    # Retention may take out the alert of a closed order at any time; from here on this one stays, or is gone.
    alert_id = source.alert_id
    if alert_id is not None:
        alert = select(Alert.id).where(Alert.id == alert_id).with_for_update(read=True, key_share=True)
        alert_id = db.scalar(alert)
    copy = Order(
        **{name: getattr(source, name) for name in _COPIED},
        alert_id=alert_id,
        status="WAITING",
        mode="MANUAL",
        simulated=False,
        error_message=first_sentence + original,
    )
    db.add(copy)
    db.flush()
    note = f"Requeued to Waiting Queue as order #{copy.id}."
    source.error_message = f"{source.error_message} {note}" if source.error_message else note
    db.flush()
    return copy


def requeue_order_to_waiting(db: Session, *, source: Order, reason: str | None = None) -> Order:
    """Insert the MANUAL WAITING copy of an order, note it on the source, commit; returns the copy."""
    copy = copy_to_waiting_queue(db, source, reason)
    db.commit()
    return copy
