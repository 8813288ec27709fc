"""Answer shapes of the positions calls."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel

from app.schemas.types import Answer


class PositionRead(Answer):
    """A cached position; prices and profit in rupees."""

    id: int
    symbol: str
    exchange: str
    product: str
    qty: float
    avg_price: float
    pnl: float
    last_updated: datetime


class PositionDay(Answer):
    """A position at the end of a day with derived figures."""

    id: int
    broker_name: str
    as_of_date: date
    captured_at: datetime
    symbol: str
    exchange: str
    product: str
    qty: float
    avg_price: float
    pnl: float
    remaining_qty: float
    traded_qty: float
    order_type: str
    avg_buy_price: float | None
    avg_sell_price: float | None
    pnl_value: float | None
    pnl_pct: float | None
    ltp: float | None
    today_pnl: float | None
    today_pnl_pct: float | None


class PositionsSynced(BaseModel):
    """How many positions the broker reported."""

    updated: int
