"""Strategies: who may change which, what an expression compiles to, what goes with a deleted one."""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import HTTPException
from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.models import Alert, Order, RiskSettings, Strategy, User
from app.services.shared.bulk import changed_rows
from app.services.strategies.dsl import parse_expression
from app.services.strategies.expression import expression_to_dict

NAME_TAKEN: Final = "Strategy with this name already exists."


def compiled_expression(text: str | None) -> dict[str, str | None]:
    """Values of `dsl_expression` and `expression_json`; HTTPException 400 for an invalid expression."""
    trimmed = (text or "").strip()
    if not trimmed:
        return {"dsl_expression": None, "expression_json": None}
    try:
        tree = expression_to_dict(parse_expression(trimmed))
    except ValueError as error:
        raise HTTPException(400, f"Invalid DSL expression: {error}") from None
    return {"dsl_expression": trimmed, "expression_json": json.dumps(tree)}


def check_may_change(strategy: Strategy, user: User) -> None:
    """HTTPException 404 when the strategy belongs to somebody else."""
    if strategy.owner_id is not None and strategy.owner_id != user.id:
        raise HTTPException(404, "Strategy not found.")


def check_builtin_change(strategy: Strategy, members: set[str]) -> None:
    """HTTPException 400 when more than the alert switch of a built-in strategy would change."""
    is_protected = strategy.is_builtin and strategy.owner_id is None
    if is_protected and members - {"available_for_alert"}:
        raise HTTPException(400, "Built-in strategies cannot be modified.")


def save_strategy(db: Session, strategy: Strategy, values: dict[str, Any]) -> Strategy:
    """Set the values and commit; HTTPException 400 when the name belongs to another strategy."""
    if "name" in values:
        holder = db.scalar(select(Strategy.id).where(Strategy.name == values["name"]))
        if holder is not None and holder != strategy.id:
            raise HTTPException(400, NAME_TAKEN)
    for name, value in values.items():
        setattr(strategy, name, value)
    db.add(strategy)
    try:
        db.commit()
    except IntegrityError:
        db.rollback()
        raise HTTPException(400, NAME_TAKEN) from None
    return strategy


def delete_strategy(db: Session, strategy: Strategy) -> None:
    """Delete a strategy with its alerts and limits; orders stay, without the link. Commits.

    Done in five statements, so that a strategy with a hundred thousand alerts is no burden.
    """
    of_strategy = Alert.strategy_id == strategy.id
    alert_ids = select(Alert.id).where(of_strategy)
    for statement in (
        update(Order).where(Order.strategy_id == strategy.id).values(strategy_id=None),
        update(Order).where(Order.alert_id.in_(alert_ids)).values(alert_id=None),
        delete(RiskSettings).where(RiskSettings.strategy_id == strategy.id),
        delete(Alert).where(of_strategy),
        delete(Strategy).where(Strategy.id == strategy.id),
    ):
        changed_rows(db, statement)
    db.commit()


def list_templates(db: Session, user: User, scope: str | None) -> list[Strategy]:
    """Strategies that can serve as a template for an alert of the user, by name."""
    query = select(Strategy).where(
        or_(Strategy.scope.is_not(None), Strategy.dsl_expression.is_not(None)),
        or_(Strategy.owner_id.is_(None), Strategy.owner_id == user.id),
        Strategy.available_for_alert.is_(True),
    )
    if scope is not None:
        query = query.where(Strategy.scope == scope)
    return list(db.scalars(query.order_by(Strategy.name, Strategy.id)))
