"""Screener runs over a universe of symbols."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched


class ScreenerRun(Base):
    """One run of a screener: what was asked, how far it is, what it found."""

    __tablename__ = "screener_runs"
    __table_args__ = (
        CheckConstraint("status IN ('RUNNING', 'DONE', 'ERROR')", name="ck_screener_runs_status"),
        Index("ix_screener_runs_user_created", "user_id", "created_at"),
        Index("ix_screener_runs_user_status", "user_id", "status"),
    )

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(String(16), default="RUNNING")
    target_json: Mapped[str] = mapped_column(Text, default="{}")
    variables_json: Mapped[str] = mapped_column(Text, default="[]")
    condition_dsl: Mapped[str] = mapped_column(Text, default="")
    evaluation_cadence: Mapped[str] = mapped_column(String(8), default="1m")
    signal_strategy_version_id: Mapped[int | None] = mapped_column(
        ForeignKey("signal_strategy_versions.id", ondelete="SET NULL")
    )
    signal_strategy_output: Mapped[str | None] = mapped_column(String(64))
    signal_strategy_params_json: Mapped[str] = mapped_column(Text, default="{}")
    total_symbols: Mapped[int] = mapped_column(default=0)
    evaluated_symbols: Mapped[int] = mapped_column(default=0)
    matched_symbols: Mapped[int] = mapped_column(default=0)
    missing_symbols: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)
    results_json: Mapped[str] = mapped_column(Text, default="[]")
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["ScreenerRun"]
