"""Limits on orders, for everything or for one strategy."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.sessions import Db
from app.models import RiskSettings, Strategy
from app.schemas.risk_settings import (
    RiskScope,
    RiskSettingsCreate,
    RiskSettingsRead,
    RiskSettingsUpdate,
    scope_problem,
)
from app.schemas.types import PathId, QueryId, changed_members

router = APIRouter(prefix="/api/risk-settings", tags=["risk"])
DUPLICATE = "Risk settings for this scope/strategy already exist."


def _find(db: Session, settings_id: int) -> RiskSettings:
    row = db.get(RiskSettings, settings_id)
    if row is None:
        raise HTTPException(404, "Not found")
    return row


def _check_place(db: Session, scope: str, strategy_id: int | None, own_id: int | None) -> None:
    """HTTPException 400 when the strategy does not exist or another row has the same place."""
    if strategy_id is not None and db.get(Strategy, strategy_id) is None:
        raise HTTPException(400, f"Strategy not found: {strategy_id}")
    # Comparing with None is IS NULL.
    same = (RiskSettings.scope == scope, RiskSettings.strategy_id == strategy_id)
    others = db.scalars(select(RiskSettings.id).where(*same))
    if any(row_id != own_id for row_id in others):
        raise HTTPException(400, DUPLICATE)


def _commit(db: Session) -> None:
    try:
        db.commit()
    except IntegrityError:
        db.rollback()
        raise HTTPException(400, DUPLICATE) from None


@router.get("/", response_model=list[RiskSettingsRead])
def list_risk_settings(
    db: Db, scope: RiskScope | None = None, strategy_id: QueryId = None
) -> list[RiskSettings]:
    """Limits in the order they were made."""
    query = select(RiskSettings).order_by(RiskSettings.id)
    if scope is not None:
        query = query.where(RiskSettings.scope == scope)
    if strategy_id is not None:
        query = query.where(RiskSettings.strategy_id == strategy_id)
    return list(db.scalars(query))


@router.post("/", status_code=201, response_model=RiskSettingsRead)
def create_risk_settings(body: RiskSettingsCreate, db: Db) -> RiskSettings:
    """Add limits; there is one set per scope and strategy."""
    _check_place(db, body.scope, body.strategy_id, None)
    row = RiskSettings(**body.model_dump())
    db.add(row)
    _commit(db)
    return row


@router.get("/{settings_id}", response_model=RiskSettingsRead)
def get_risk_settings(settings_id: PathId, db: Db) -> RiskSettings:
    """One set of limits."""
    return _find(db, settings_id)


@router.put("/{settings_id}", response_model=RiskSettingsRead)
def update_risk_settings(settings_id: PathId, body: RiskSettingsUpdate, db: Db) -> RiskSettings:
    """Change the members that are present."""
    row = _find(db, settings_id)
    values = changed_members(body)
    scope = values.get("scope", row.scope)
    strategy_id = values.get("strategy_id", row.strategy_id)
    if "scope" in values or "strategy_id" in values:
        problem = scope_problem(scope, strategy_id)
        if problem:
            raise HTTPException(422, problem)
        _check_place(db, scope, strategy_id, row.id)
    for name, value in values.items():
        setattr(row, name, value)
    _commit(db)
    return row


@router.delete("/{settings_id}", status_code=204)
def delete_risk_settings(settings_id: PathId, db: Db) -> None:
    """Remove limits."""
    db.delete(_find(db, settings_id))
    db.commit()
