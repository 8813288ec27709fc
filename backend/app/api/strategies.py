"""Strategies: list, create, change, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.sessions import CurrentUser, Db
from app.models import Strategy
from app.schemas.strategies import Scope, StrategyCreate, StrategyRead, StrategyUpdate
from app.schemas.types import PathId, changed_members
from app.services.strategies.rows import (
    check_builtin_change,
    check_may_change,
    compiled_expression,
    delete_strategy,
    list_templates,
    save_strategy,
)

router = APIRouter(prefix="/api/strategies", tags=["strategies"])


def _find(db: Session, strategy_id: int) -> Strategy:
    strategy = db.get(Strategy, strategy_id)
    if strategy is None:
        raise HTTPException(404, "Not found")
    return strategy


@router.get("/", response_model=list[StrategyRead])
def list_strategies(db: Db) -> list[Strategy]:
    """All strategies in the order they were made."""
    return list(db.scalars(select(Strategy).order_by(Strategy.id)))


@router.get("/templates", response_model=list[StrategyRead])
def list_strategy_templates(
    db: Db,
    user: CurrentUser,
    scope: Scope | None = None,
    symbol: Annotated[str | None, Query(min_length=1)] = None,
) -> list[Strategy]:
    """Strategies usable as alert templates; `symbol` is accepted and does not restrict anything."""
    return list_templates(db, user, scope)


@router.post("/", status_code=201, response_model=StrategyRead)
def create_strategy(body: StrategyCreate, db: Db, user: CurrentUser) -> Strategy:
    """Create a strategy that belongs to the caller."""
    values = body.model_dump() | compiled_expression(body.dsl_expression)
    return save_strategy(db, Strategy(owner_id=user.id), values)


@router.get("/{strategy_id}", response_model=StrategyRead)
def get_strategy(strategy_id: PathId, db: Db) -> Strategy:
    """One strategy."""
    return _find(db, strategy_id)


@router.put("/{strategy_id}", response_model=StrategyRead)
def update_strategy(strategy_id: PathId, body: StrategyUpdate, db: Db, user: CurrentUser) -> Strategy:
    """Change the members that are present."""
    strategy = _find(db, strategy_id)
    check_may_change(strategy, user)
    values = changed_members(body)
    check_builtin_change(strategy, set(values))
    if "dsl_expression" in values:
        values |= compiled_expression(body.dsl_expression)
    return save_strategy(db, strategy, values)


@router.delete("/{strategy_id}", status_code=204)
def remove_strategy(strategy_id: PathId, db: Db, user: CurrentUser) -> None:
    """Delete a strategy together with its alerts and limits."""
    strategy = _find(db, strategy_id)
    if strategy.is_builtin:
        raise HTTPException(400, "Built-in strategies cannot be deleted.")
    check_may_change(strategy, user)
    delete_strategy(db, strategy)
