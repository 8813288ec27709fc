"""Tradable instruments and their price bars."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Float, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Id


class MarketInstrument(Base):
    """A symbol that price bars are loaded for."""

    __tablename__ = "market_instruments"
    __table_args__ = (UniqueConstraint("symbol", "exchange", name="ux_market_instruments_symbol_exchange"),)

    id: Mapped[Id]
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str] = mapped_column(String(32))
    instrument_token: Mapped[str] = mapped_column(String(64))
    name: Mapped[str | None] = mapped_column(String(255))
    active: Mapped[bool] = mapped_column(default=True)


class Candle(Base):
    """One price bar; `ts` is the exchange's local time, stored as it is."""

    __tablename__ = "candles"
    __table_args__ = (
        UniqueConstraint("symbol", "exchange", "timeframe", "ts", name="ux_candles_symbol_exchange_tf_ts"),
        Index("ix_candles_symbol_exchange_tf_ts", "symbol", "exchange", "timeframe", "ts"),
    )

    id: Mapped[Id]
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str] = mapped_column(String(32))
    timeframe: Mapped[str] = mapped_column(String(8))
    ts: Mapped[datetime] = mapped_column(DateTime)
    open: Mapped[float] = mapped_column(Float)
    high: Mapped[float] = mapped_column(Float)
    low: Mapped[float] = mapped_column(Float)
    close: Mapped[float] = mapped_column(Float)
    volume: Mapped[float] = mapped_column(Float, default=0.0)


__all__ = ["Candle", "MarketInstrument"]
