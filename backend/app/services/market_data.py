"""Stored candles, and the coarser bars built from them. Times are IST wall time without a zone.

Only one-minute and daily bars are stored; everything else is put together from these on reading.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.models import Candle

Timeframe = Literal["1m", "5m", "15m", "30m", "1h", "1d", "1mo", "1y"]
Bar = dict[str, Any]
_MINUTES: Final = {"5m": 5, "15m": 15, "30m": 30, "1h": 60}


class MarketDataError(Exception):
    """Bars are missing and cannot be fetched."""


def load_series(
    db: Session,
    settings: Settings,
    *,
    symbol: str,
    exchange: str,
    timeframe: Timeframe,
    start: datetime,
    end: datetime,
    allow_fetch: bool = True,
) -> list[Bar]:
    """Bars from start to end, both included, by time.

    With `allow_fetch` a series without any bar raises MarketDataError, since there is nothing to fetch
    it from; without it the result is simply empty.
    """
    base = "1m" if timeframe == "1m" or timeframe in _MINUTES else "1d"
    bars = _stored_bars(db, symbol, exchange, base, start, end)
    if not bars and allow_fetch:
        broker = settings.canonical_market_data_broker
        raise MarketDataError(f"No candles stored for {exchange}:{symbol} and {broker} is not connected.")
    if timeframe == base:
        return bars
    return _merged(bars, _bucket_of(timeframe))


def _stored_bars(
    db: Session, symbol: str, exchange: str, timeframe: str, start: datetime, end: datetime
) -> list[Bar]:
    query = select(Candle).where(
        Candle.symbol == symbol,
        Candle.exchange == exchange,
        Candle.timeframe == timeframe,
        Candle.ts >= start,
        Candle.ts <= end,
    )
    return [
        {"ts": row.ts, "open": row.open, "high": row.high, "low": row.low, "close": row.close,
         "volume": row.volume}
        for row in db.scalars(query.order_by(Candle.ts, Candle.id))
    ]  # fmt: skip


def _bucket_of(timeframe: Timeframe) -> Callable[[datetime], Any]:
    """What bars have in common that go into one bar of the timeframe."""
    if timeframe in _MINUTES:
        minutes = _MINUTES[timeframe]
        return lambda ts: ts.replace(minute=ts.minute - ts.minute % minutes, second=0, microsecond=0)
    return (lambda ts: ts.year) if timeframe == "1y" else (lambda ts: (ts.year, ts.month))


def _merged(bars: list[Bar], bucket_of: Callable[[datetime], Any]) -> list[Bar]:
    merged: dict[Any, Bar] = {}
    for bar in bars:
        bucket = bucket_of(bar["ts"])
        into = merged.get(bucket)
        if into is None:
            # A month or year begins on day 1 of the month of its first bar.
            start = bucket if isinstance(bucket, datetime) else bar["ts"].replace(
                day=1, hour=0, minute=0, second=0, microsecond=0
            )  # fmt: skip
            merged[bucket] = {**bar, "ts": start}
            continue
        into["high"] = max(into["high"], bar["high"])
        into["low"] = min(into["low"], bar["low"])
        into["close"] = bar["close"]
        into["volume"] += bar["volume"]
    return list(merged.values())
