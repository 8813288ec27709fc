"""The list of received TradingView alerts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select

from app.core.sessions import ListingDb, OptionalUser
from app.models import Alert, Strategy
from app.schemas.alerts import AlertRead
from app.services.shared.listing import visible_to

router = APIRouter(prefix="/api/tv-alerts", tags=["alerts"])


@router.get("", response_model=list[AlertRead])
def list_tv_alerts(
    db: ListingDb, user: OptionalUser, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> list[dict[str, Any]]:
    """Alerts from TradingView, newest first."""
    query = (
        select(*Alert.__table__.columns, Strategy.name.label("strategy_name"))
        .outerjoin(Strategy, Strategy.id == Alert.strategy_id)
        .where(Alert.source == "TRADINGVIEW", visible_to(Alert.user_id, user))
        .order_by(Alert.received_at.desc(), Alert.id.desc())
        .limit(limit)
    )
    return [dict(row._mapping) for row in db.execute(query)]
