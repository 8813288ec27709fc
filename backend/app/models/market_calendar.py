"""Trading days and special hours per exchange."""

from __future__ import annotations

from datetime import date, time

from sqlalchemy import CheckConstraint, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id, Touched


class MarketCalendar(Base):
    """One day of one exchange that is not an ordinary trading day."""

    __tablename__ = "market_calendar"
    __table_args__ = (
        UniqueConstraint("date", "exchange", name="ux_market_calendar_date_exchange"),
        CheckConstraint(
            "session_type IN ('NORMAL','CLOSED','SETTLEMENT_ONLY','HALF_DAY','SPECIAL')",
            name="ck_market_calendar_session_type",
        ),
        Index("ix_market_calendar_date", "date"),
        Index("ix_market_calendar_exchange_date", "exchange", "date"),
    )

    id: Mapped[Id]
    date: Mapped[date]
    exchange: Mapped[str] = mapped_column(String(16))
    session_type: Mapped[str] = mapped_column(String(32), default="NORMAL")
    open_time: Mapped[time | None]
    close_time: Mapped[time | None]
    notes: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["MarketCalendar"]
