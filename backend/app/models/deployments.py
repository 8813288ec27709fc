"""A strategy deployed on a symbol or group, and the state it is in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched


class StrategyDeployment(Base):
    """A strategy put to work: its target, broker, time frame and configuration."""

    __tablename__ = "strategy_deployments"
    __table_args__ = (
        UniqueConstraint("owner_id", "name", name="ux_strategy_deployments_owner_name"),
        CheckConstraint(
            "execution_target IN ('PAPER', 'LIVE')", name="ck_strategy_deployments_execution_target"
        ),
        CheckConstraint("kind IN ('STRATEGY', 'PORTFOLIO_STRATEGY')", name="ck_strategy_deployments_kind"),
        CheckConstraint(
            "(target_kind = 'SYMBOL' AND symbol IS NOT NULL)"
            " OR (target_kind = 'GROUP' AND group_id IS NOT NULL)",
            name="ck_strategy_deployments_target_fields",
        ),
        CheckConstraint("target_kind IN ('SYMBOL', 'GROUP')", name="ck_strategy_deployments_target_kind"),
        CheckConstraint(
            "timeframe IN ('1m','5m','15m','30m','1h','1d')", name="ck_strategy_deployments_timeframe"
        ),
        Index("ix_strategy_deployments_broker_name", "broker_name"),
        Index("ix_strategy_deployments_created_at", "created_at"),
        Index("ix_strategy_deployments_enabled", "enabled"),
        Index("ix_strategy_deployments_execution_target", "execution_target"),
        Index("ix_strategy_deployments_group_id", "group_id"),
        Index("ix_strategy_deployments_kind", "kind"),
        Index("ix_strategy_deployments_owner_id", "owner_id"),
        Index("ix_strategy_deployments_symbol", "exchange", "symbol"),
    )

    id: Mapped[Id]
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(32))
    execution_target: Mapped[str] = mapped_column(String(16), default="PAPER")
    enabled: Mapped[bool] = mapped_column(default=False)
    broker_name: Mapped[str] = mapped_column(String(32), default="zerodha")
    product: Mapped[str] = mapped_column(String(16), default="CNC")
    target_kind: Mapped[str] = mapped_column(String(16), default="SYMBOL")
    group_id: Mapped[int | None] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"))
    exchange: Mapped[str | None] = mapped_column(String(32))
    symbol: Mapped[str | None] = mapped_column(String(128))
    timeframe: Mapped[str] = mapped_column(String(8), default="1d")
    config_json: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    state: Mapped[StrategyDeploymentState | None] = relationship(
        back_populates="deployment", cascade="all, delete-orphan", passive_deletes=True
    )


class StrategyDeploymentState(Base):
    """The run state of a deployment, one row each."""

    __tablename__ = "strategy_deployment_states"
    __table_args__ = (
        UniqueConstraint("deployment_id", name="ux_strategy_deployment_states_deployment_id"),
        CheckConstraint(
            "status IN ('STOPPED', 'RUNNING', 'PAUSED', 'ERROR')", name="ck_strategy_deployment_states_status"
        ),
        Index("ix_strategy_deployment_states_deployment_id", "deployment_id"),
        Index("ix_strategy_deployment_states_last_eval_at", "last_eval_at"),
        Index("ix_strategy_deployment_states_last_evaluated_at", "last_evaluated_at"),
        Index("ix_strategy_deployment_states_next_eval_at", "next_eval_at"),
        Index("ix_strategy_deployment_states_next_evaluate_at", "next_evaluate_at"),
        Index("ix_strategy_deployment_states_status", "status"),
    )

    id: Mapped[Id]
    deployment_id: Mapped[int] = mapped_column(ForeignKey("strategy_deployments.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(String(16), default="STOPPED")
    state_json: Mapped[str | None] = mapped_column(Text)
    exposure_json: Mapped[str | None] = mapped_column(Text)
    last_evaluated_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    next_evaluate_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_eval_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_eval_bar_end_ts: Mapped[datetime | None] = mapped_column(UTCDateTime)
    runtime_state: Mapped[str | None] = mapped_column(String(32))
    last_decision: Mapped[str | None] = mapped_column(String(32))
    last_decision_reason: Mapped[str | None] = mapped_column(String(255))
    next_eval_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    stopped_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    paused_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    resumed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    pause_reason: Mapped[str | None] = mapped_column(String(255))
    updated_at: Mapped[Touched]

    deployment: Mapped[StrategyDeployment] = relationship(back_populates="state")


__all__ = ["StrategyDeployment", "StrategyDeploymentState"]
