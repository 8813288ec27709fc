"""What a deployed strategy leaves behind while it runs: jobs, locks, cursors, actions, events."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched
from app.models.order_jobs import DEAD, OPEN, RUNNING

WINDOWS = text("status = 'PENDING' AND kind = 'WINDOW'")


class StrategyDeploymentAction(Base):
    """Something a deployment did, with its payload."""

    __tablename__ = "strategy_deployment_actions"
    __table_args__ = (
        Index("ix_strategy_deployment_actions_created_at", "created_at"),
        Index("ix_strategy_deployment_actions_deployment_id", "deployment_id"),
        Index("ix_strategy_deployment_actions_kind", "kind"),
    )

    id: Mapped[Id]
    deployment_id: Mapped[int] = mapped_column(ForeignKey("strategy_deployments.id", ondelete="CASCADE"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("strategy_deployment_jobs.id", ondelete="SET NULL"))
    kind: Mapped[str] = mapped_column(String(32), default="JOB_EXECUTED")
    payload_json: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]


class StrategyDeploymentBarCursor(Base):
    """How far a deployment has consumed the bars of one symbol and time frame."""

    __tablename__ = "strategy_deployment_bar_cursors"
    __table_args__ = (
        UniqueConstraint(
            "deployment_id",
            "exchange",
            "symbol",
            "timeframe",
            name="ux_strategy_deployment_bar_cursors_dep_symbol_tf",
        ),
        CheckConstraint(
            "timeframe IN ('1m','5m','15m','30m','1h')", name="ck_strategy_deployment_bar_cursors_timeframe"
        ),
        Index("ix_strategy_deployment_bar_cursors_deployment_id", "deployment_id"),
        Index("ix_strategy_deployment_bar_cursors_symbol_tf", "exchange", "symbol", "timeframe"),
    )

    id: Mapped[Id]
    deployment_id: Mapped[int] = mapped_column(ForeignKey("strategy_deployments.id", ondelete="CASCADE"))
    exchange: Mapped[str] = mapped_column(String(32))
    symbol: Mapped[str] = mapped_column(String(128))
    timeframe: Mapped[str] = mapped_column(String(8))
    last_emitted_bar_end_ts: Mapped[datetime | None] = mapped_column(UTCDateTime)
    updated_at: Mapped[Touched]


class StrategyDeploymentEventLog(Base):
    """One line in the journal of a deployment."""

    __tablename__ = "strategy_deployment_event_logs"
    __table_args__ = (
        Index("ix_strategy_deployment_event_logs_created_at", "created_at"),
        Index("ix_strategy_deployment_event_logs_deployment_id", "deployment_id"),
        Index("ix_strategy_deployment_event_logs_kind", "kind"),
    )

    id: Mapped[Id]
    deployment_id: Mapped[int] = mapped_column(ForeignKey("strategy_deployments.id", ondelete="CASCADE"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("strategy_deployment_jobs.id", ondelete="SET NULL"))
    kind: Mapped[str] = mapped_column(String(64))
    payload_json: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]


class StrategyDeploymentJob(Base):
    """A unit of work in the queue; the dedupe key admits each bar or window once."""

    __tablename__ = "strategy_deployment_jobs"
    __table_args__ = (
        UniqueConstraint("dedupe_key", name="ux_strategy_deployment_jobs_dedupe_key"),
        CheckConstraint(
            "kind IN ('BAR_CLOSED', 'DAILY_PROXY_CLOSED', 'WINDOW')", name="ck_strategy_deployment_jobs_kind"
        ),
        CheckConstraint(
            "status IN ('PENDING', 'RUNNING', 'DONE', 'FAILED')", name="ck_strategy_deployment_jobs_status"
        ),
        Index("ix_strategy_deployment_jobs_created_at", "created_at"),
        Index("ix_strategy_deployment_jobs_owner_id", "owner_id"),
        Index("ix_strategy_deployment_jobs_newest", "deployment_id", "kind", "scheduled_for"),
        Index(
            "ix_strategy_deployment_jobs_windows",
            "created_at",
            "id",
            postgresql_where=WINDOWS,
            sqlite_where=WINDOWS,
        ),
        Index("ix_strategy_deployment_jobs_dead", "id", postgresql_where=DEAD, sqlite_where=DEAD),
        Index(
            "ix_strategy_deployment_jobs_open", "created_at", "id", postgresql_where=OPEN, sqlite_where=OPEN
        ),
        Index(
            "ix_strategy_deployment_jobs_running", "locked_at", postgresql_where=RUNNING, sqlite_where=RUNNING
        ),
    )

    id: Mapped[Id]
    deployment_id: Mapped[int] = mapped_column(ForeignKey("strategy_deployments.id", ondelete="CASCADE"))
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16), default="PENDING")
    dedupe_key: Mapped[str] = mapped_column(String(255))
    scheduled_for: Mapped[datetime | None] = mapped_column(UTCDateTime)
    payload_json: Mapped[str] = mapped_column(Text, default="{}")
    run_after: Mapped[datetime | None] = mapped_column(UTCDateTime)
    attempts: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=5)
    locked_by: Mapped[str | None] = mapped_column(String(64))
    locked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class StrategyDeploymentLock(Base):
    """Which worker holds a deployment, and until when."""

    __tablename__ = "strategy_deployment_locks"
    __table_args__ = (
        UniqueConstraint("deployment_id", name="ux_strategy_deployment_locks_deployment_id"),
        Index("ix_strategy_deployment_locks_deployment_id", "deployment_id"),
        Index("ix_strategy_deployment_locks_locked_until", "locked_until"),
    )

    id: Mapped[Id]
    deployment_id: Mapped[int] = mapped_column(ForeignKey("strategy_deployments.id", ondelete="CASCADE"))
    locked_by: Mapped[str | None] = mapped_column(String(64))
    locked_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    updated_at: Mapped[Touched]


__all__ = [
    "StrategyDeploymentAction",
    "StrategyDeploymentBarCursor",
    "StrategyDeploymentEventLog",
    "StrategyDeploymentJob",
    "StrategyDeploymentLock",
]
