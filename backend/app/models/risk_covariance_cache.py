"""Covariance matrices kept per universe and window, so that they are computed once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id


class RiskCovarianceCache(Base):
    """One covariance matrix as JSON text, by universe, time frame, window and time."""

    __tablename__ = "risk_covariance_cache"
    __table_args__ = (
        UniqueConstraint(
            "universe_hash", "timeframe", "window_days", "as_of_ts", name="ux_risk_cov_cache_key"
        ),
        Index("ix_risk_cov_cache_lookup", "universe_hash", "timeframe", "window_days", "as_of_ts"),
    )

    id: Mapped[Id]
    universe_hash: Mapped[str] = mapped_column(String(64))
    timeframe: Mapped[str] = mapped_column(String(8), default="1d")
    window_days: Mapped[int] = mapped_column(default=180)
    as_of_ts: Mapped[datetime] = mapped_column(DateTime)
    symbols_json: Mapped[str] = mapped_column(Text, default="[]")
    cov_json: Mapped[str] = mapped_column(Text, default="[]")
    vol_json: Mapped[str] = mapped_column(Text, default="[]")
    corr_json: Mapped[str] = mapped_column(Text, default="[]")
    observations: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[Created]


__all__ = ["RiskCovarianceCache"]
