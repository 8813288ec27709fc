"""Price history from stored candles."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel

from app.core.sessions import AppSettings, Db
from app.core.time_utils import to_ist_naive, utc_now
from app.services.market_data import MarketDataError, Timeframe, load_series

router = APIRouter(prefix="/api/market", tags=["market"])
RETENTION_DAYS = 730


class Bar(BaseModel):
    """One bar; `ts` is IST wall time of its beginning, prices in rupees."""

    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


@router.get("/history", response_model=list[Bar])
def history(
    db: Db,
    settings: AppSettings,
    symbol: str,
    exchange: str = "NSE",
    timeframe: Timeframe = "1d",
    period_days: Annotated[int, Query(ge=1, le=RETENTION_DAYS)] = 90,
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[dict[str, Any]]:
    """Bars of the last `period_days` days, or from start to end, at most two years back."""
    now = to_ist_naive(utc_now())
    first, last = now - timedelta(days=period_days), now
    if start is not None and end is not None:
        first, last = _wall_time(start), _wall_time(end)
        if first >= last:
            raise HTTPException(400, "start must be before end")
    first = max(first, now - timedelta(days=RETENTION_DAYS))
    try:
        return load_series(
            db, settings, symbol=symbol, exchange=exchange, timeframe=timeframe, start=first, end=last
        )
    except MarketDataError as error:
        raise HTTPException(400, str(error)) from None


def _wall_time(value: datetime) -> datetime:
    try:
        return to_ist_naive(value)
    except OverflowError:
        raise HTTPException(400, "date out of range") from None
