"""Manual orders: the checks of creating and editing one, and the rows they make."""

from __future__ import annotations

from fastapi import HTTPException
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import Group, Order, User
from app.schemas.orders import OrderCreate, OrderUpdate
from app.services.orders.price_ticks import round_price_to_tick

_TRIGGER_TRACKING = ("trigger_operator", "armed_at", "last_checked_at", "last_seen_price", "triggered_at")


def _require(condition: bool, detail: str) -> None:
    if not condition:
        raise HTTPException(400, detail)


def new_order(db: Session, body: OrderCreate, user: User, broker_name: str) -> Order:
    """A checked, not yet added order; HTTPException 400 or 403 with the first broken rule.

    `broker_name` is the body's name after the check that the broker is supported.
    """
    _check_group(db, body.portfolio_group_id, user)
    price = round_price_to_tick(body.price)
    trigger = round_price_to_tick(body.trigger_price)
    _check_prices(body, price or 0.0, trigger or 0.0)
    synthetic = body.gtt and broker_name != "zerodha"
    return Order(
        user_id=user.id,
        symbol=body.symbol,
        exchange=body.exchange,
        side=body.side,
        qty=body.qty,
        price=price,
        trigger_price=price if body.gtt and trigger is None else trigger,
        order_type=body.order_type,
        product=body.product,
        gtt=body.gtt,
        synthetic_gtt=synthetic,
        armed_at=utc_now() if synthetic and body.mode == "AUTO" else None,
        status="WAITING",
        mode=body.mode,
        execution_target=body.execution_target,
        broker_name=broker_name,
        portfolio_group_id=body.portfolio_group_id,
        risk_spec_json=body.risk_spec.model_dump_json() if body.risk_spec else None,
    )


def check_amounts(body: OrderCreate) -> None:
    """The rules on quantity and price that come before everything else."""
    _require(body.qty > 0, "Quantity must be positive.")
    _require(body.price is None or body.price >= 0, "Price must be non-negative.")


def _check_group(db: Session, group_id: int | None, user: User) -> None:
    if group_id is None:
        return
    group = db.get(Group, group_id)
    if group is None:
        raise HTTPException(400, f"Portfolio group not found: {group_id}")
    _require(group.kind == "PORTFOLIO", f"Group {group_id} is not a PORTFOLIO.")
    if group.owner_id is not None and group.owner_id != user.id:
        raise HTTPException(403, "Forbidden.")


def _check_prices(body: OrderCreate, price: float, trigger: float) -> None:
    kind = body.order_type
    _require(not body.gtt or kind == "LIMIT", "GTT is supported only for LIMIT orders.")
    _require(not body.gtt or price > 0, "Price must be positive for GTT LIMIT orders.")
    if kind in ("SL", "SL-M"):
        _require(trigger > 0, "Trigger price must be positive for SL/SL-M orders.")
    if kind == "SL":
        _require(price > 0, "Price must be positive for SL orders.")
    if kind == "LIMIT":
        _require(price > 0, "Price must be positive for LIMIT orders.")
    if kind == "MARKET" and body.trigger_price is not None:
        _require(trigger > 0, "Trigger price must be positive when provided.")


def apply_edit(order: Order, body: OrderUpdate, broker_name: str) -> None:
    """Change a waiting order; HTTPException 400 for the first member that breaks a rule.

    The row is only touched when every member is in order. `broker_name` is the order's checked broker.
    """
    changes = {name: value for name, value in body.model_dump().items() if value is not None}
    _check_edit(body)
    for name in ("price", "trigger_price"):
        if name in changes:
            changes[name] = round_price_to_tick(changes[name])
    if "product" in changes:
        changes["product"] = changes["product"].strip().upper()
    if body.gtt:
        changes["synthetic_gtt"] = broker_name != "zerodha"
    elif body.gtt is False:
        changes["synthetic_gtt"] = False
        changes.update(dict.fromkeys(_TRIGGER_TRACKING))
    for name, value in changes.items():
        setattr(order, name, value)


def _check_edit(body: OrderUpdate) -> None:
    _require(body.qty is None or body.qty > 0, "Quantity must be positive.")
    _require(body.price is None or body.price >= 0, "Price must be non-negative.")
    _require(body.trigger_price is None or body.trigger_price > 0, "Trigger price must be positive.")
    _require(body.product is None or bool(body.product.strip()), "Product must be non-empty.")
