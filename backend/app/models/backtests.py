"""Backtest runs: the request, its state and its result, one row per run."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched


class BacktestRun(Base):
    """One backtest: configuration, progress and result as JSON text."""

    __tablename__ = "backtest_runs"
    __table_args__ = (
        Index("ix_backtest_runs_created_at", "created_at"),
        Index("ix_backtest_runs_kind", "kind"),
        Index("ix_backtest_runs_owner_id", "owner_id"),
        Index("ix_backtest_runs_status", "status"),
    )

    id: Mapped[Id]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(32), default="PENDING")
    title: Mapped[str | None] = mapped_column(String(255))
    config_json: Mapped[str] = mapped_column(Text)
    result_json: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["BacktestRun"]
