"""Answer shape of the alert list."""

from __future__ import annotations

from datetime import datetime

from app.schemas.types import Answer


class AlertRead(Answer):
    """One stored TradingView alert."""

    id: int
    user_id: int | None
    strategy_id: int | None
    strategy_name: str | None
    symbol: str
    exchange: str | None
    interval: str | None
    action: str
    qty: float | None
    price: float | None
    platform: str
    source: str
    reason: str | None
    received_at: datetime
    bar_time: datetime | None
    raw_payload: str
