"""The stored order limits, as far as they apply to every order: short selling, quantity, value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Order, Position, RiskSettings
from app.services.shared.kept import kept


@dataclass
class RiskResult:
    """Outcome of the limits for one order; quantities in units."""

    blocked: bool
    clamped: bool
    reason: str | None
    original_qty: float
    final_qty: float


@dataclass
class _Evaluation:
    """The quantity as it shrinks from rule to rule, with what was said about it."""

    qty: float
    notes: list[str] = field(default_factory=list)
    blocked: bool = False

    def block(self, note: str) -> None:
        self.blocked = True
        self.notes.append(note)

    def clamp(self, qty: float, note: str) -> None:
        self.qty = qty
        self.notes.append(note)


def evaluate_order_risk(db: Session, order: Order) -> RiskResult:
    """Apply the GLOBAL risk settings, oldest first; the order itself is not changed."""
    state = _Evaluation(order.qty)
    query = select(RiskSettings).where(RiskSettings.scope == "GLOBAL").order_by(RiskSettings.id)
    rules = [] if order.is_exit else kept(db, RiskSettings, lambda: db.scalars(query).all())
    for rule in rules:
        _short_selling(db, order, rule, state)
        _quantity(rule, state)
        _value(order, rule, state)
        if state.blocked:
            break
    reason = "; ".join(state.notes) or None
    clamped = not state.blocked and state.qty != order.qty
    return RiskResult(state.blocked, clamped, reason, order.qty, state.qty)


def _short_selling(db: Session, order: Order, rule: RiskSettings, state: _Evaluation) -> None:
    if rule.allow_short_selling or order.side != "SELL" or order.product == "CNC":
        return
    if _position_qty(db, order) - state.qty < 0:
        state.block("Short selling is disabled in GLOBAL risk settings.")


def _position_qty(db: Session, order: Order) -> float:
    prefix, colon, rest = order.symbol.partition(":")
    query = select(Position.qty).where(
        Position.broker_name == order.broker_name,
        Position.symbol == (rest if colon else order.symbol),
        Position.exchange == (order.exchange or (prefix if colon else "NSE")),
        Position.product == order.product,
    )
    return db.scalars(query.order_by(Position.id).limit(1)).first() or 0.0


def _quantity(rule: RiskSettings, state: _Evaluation) -> None:
    limit, qty = rule.max_quantity_per_order, state.qty
    if state.blocked or limit is None or qty <= limit:
        return
    if rule.clamp_mode == "REJECT":
        state.block(f"Quantity {qty} exceeds max_quantity_per_order={limit} in GLOBAL.")
    else:
        note = f"Quantity clamped from {qty} to {limit} due to max_quantity_per_order={limit} in GLOBAL."
        state.clamp(limit, note)


def _value(order: Order, rule: RiskSettings, state: _Evaluation) -> None:
    limit, price, qty = rule.max_order_value, order.price, state.qty
    if state.blocked or limit is None or price is None or qty * price <= limit:
        return
    exceeds = f"Order value {qty * price:.2f} exceeds max_order_value={limit:.2f} in GLOBAL"
    if rule.clamp_mode == "REJECT":
        state.block(f"{exceeds}.")
        return
    affordable = float(math.floor(limit / price))
    if affordable < 1:
        state.block(f"{exceeds} and cannot be clamped to at least 1 whole unit.")
        return
    due = f"due to max_order_value={limit:.2f} in GLOBAL."
    state.clamp(affordable, f"Quantity clamped from {qty} to {affordable} {due}")
