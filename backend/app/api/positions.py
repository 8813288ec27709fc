"""Cached positions and their history by day."""

from __future__ import annotations

from datetime import date
from typing import Any

from fastapi import APIRouter, HTTPException
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.sessions import AppSettings, Db, ListingDb, OptionalUser
from app.models import Position
from app.schemas.positions import PositionDay, PositionRead, PositionsSynced
from app.services.brokers.clients import BrokerClient
from app.services.brokers.outside import client_from, client_or_400
from app.services.positions.days import derived_figures, list_position_days
from app.services.positions.sync import sync_positions_from_zerodha

router = APIRouter(prefix="/api/positions", tags=["positions"])


def _get_zerodha_client_for_positions(
    db: Session, settings: Settings, *, user_id: int | None = None
) -> BrokerClient:
    """A Zerodha client; HTTPException 400 without a connection."""
    return client_or_400(db, settings, "zerodha", user_id)


@router.get("/", response_model=list[PositionRead])
def list_positions(db: ListingDb, broker_name: str | None = None) -> list[Position]:
    """Cached positions by symbol, exchange and product."""
    query = select(Position).order_by(Position.symbol, Position.exchange, Position.product, Position.id)
    if broker_name is not None:
        query = query.where(Position.broker_name == broker_name.strip().lower())
    return list(db.scalars(query))


@router.get("/daily", response_model=list[PositionDay])
def list_daily(
    db: Db,
    broker_name: str = "zerodha",
    start_date: date | None = None,
    end_date: date | None = None,
    symbol: str | None = None,
    include_zero: bool = False,
) -> list[dict[str, Any]]:
    """Positions by day, newest day first."""
    rows = list_position_days(
        db,
        broker_name=broker_name.strip().lower(),
        start=start_date,
        end=end_date,
        symbol=symbol,
        include_zero=include_zero,
    )
    return [
        {column.key: getattr(row, column.key) for column in row.__mapper__.columns} | derived_figures(row)
        for row in rows
    ]


@router.post("/sync", response_model=PositionsSynced)
def sync_positions(
    db: Db, settings: AppSettings, user: OptionalUser, broker_name: str = "zerodha"
) -> PositionsSynced:
    """Replace the cached positions by the broker's."""
    name = broker_name.strip().lower()
    if name != "zerodha":
        raise HTTPException(400, f"Positions sync not implemented for broker: {name}")
    client = client_from(_get_zerodha_client_for_positions, db, settings, user.id if user else None)
    return PositionsSynced(updated=sync_positions_from_zerodha(db, client))
