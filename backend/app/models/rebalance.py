"""Rebalancing of a group: policy, schedule, runs and the orders of a run."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched


class RebalancePolicy(Base):
    """The rules by which a group is rebalanced."""

    __tablename__ = "rebalance_policies"
    __table_args__ = (
        UniqueConstraint("owner_id", "group_id", name="ux_rebalance_policies_owner_group"),
        Index("ix_rebalance_policies_group_id", "group_id"),
        Index("ix_rebalance_policies_owner_id", "owner_id"),
    )

    id: Mapped[Id]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(255), default="default")
    enabled: Mapped[bool] = mapped_column(default=True)
    broker_scope: Mapped[str] = mapped_column(String(32), default="zerodha")
    policy_json: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    schedules: Mapped[list[RebalanceSchedule]] = relationship(
        back_populates="policy", cascade="all, delete-orphan", order_by="RebalanceSchedule.created_at"
    )


class RebalanceSchedule(Base):
    """When a policy runs next."""

    __tablename__ = "rebalance_schedules"
    __table_args__ = (
        UniqueConstraint("policy_id", name="ux_rebalance_schedules_policy_id"),
        Index("ix_rebalance_schedules_policy_id", "policy_id"),
    )

    id: Mapped[Id]
    policy_id: Mapped[int] = mapped_column(ForeignKey("rebalance_policies.id", ondelete="CASCADE"))
    enabled: Mapped[bool] = mapped_column(default=True)
    schedule_json: Mapped[str | None] = mapped_column(Text)
    next_run_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_run_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    policy: Mapped[RebalancePolicy] = relationship(back_populates="schedules")


class RebalanceRun(Base):
    """One rebalancing with its plan; the idempotency key admits a request once."""

    __tablename__ = "rebalance_runs"
    __table_args__ = (
        UniqueConstraint("owner_id", "idempotency_key", name="ux_rebalance_runs_owner_idempotency"),
        CheckConstraint("mode IN ('MANUAL', 'AUTO')", name="ck_rebalance_runs_mode"),
        CheckConstraint("status IN ('CREATED', 'EXECUTED', 'FAILED')", name="ck_rebalance_runs_status"),
        Index("ix_rebalance_runs_group_broker_time", "group_id", "broker_name", "created_at"),
        Index("ix_rebalance_runs_group_id", "group_id"),
        Index("ix_rebalance_runs_owner_id", "owner_id"),
    )

    id: Mapped[Id]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"))
    broker_name: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16), default="CREATED")
    mode: Mapped[str] = mapped_column(String(16), default="MANUAL")
    idempotency_key: Mapped[str | None] = mapped_column(String(128))
    policy_snapshot_json: Mapped[str | None] = mapped_column(Text)
    inputs_snapshot_json: Mapped[str | None] = mapped_column(Text)
    summary_json: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
    executed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    orders: Mapped[list[RebalanceRunOrder]] = relationship(
        back_populates="run", cascade="all, delete-orphan", order_by="RebalanceRunOrder.id"
    )


class RebalanceRunOrder(Base):
    """One order of a rebalancing run."""

    __tablename__ = "rebalance_run_orders"
    __table_args__ = (
        Index("ix_rebalance_run_orders_order_id", "order_id"),
        Index("ix_rebalance_run_orders_run_id", "run_id"),
    )

    id: Mapped[Id]
    run_id: Mapped[int] = mapped_column(ForeignKey("rebalance_runs.id", ondelete="CASCADE"))
    order_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id", ondelete="SET NULL"))
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str | None] = mapped_column(String(32))
    side: Mapped[str] = mapped_column(String(8))
    qty: Mapped[float] = mapped_column(Float)
    estimated_price: Mapped[float | None] = mapped_column(Float)
    estimated_notional: Mapped[float | None] = mapped_column(Float)
    target_weight: Mapped[float | None] = mapped_column(Float)
    live_weight: Mapped[float | None] = mapped_column(Float)
    drift: Mapped[float | None] = mapped_column(Float)
    current_value: Mapped[float | None] = mapped_column(Float)
    desired_value: Mapped[float | None] = mapped_column(Float)
    delta_value: Mapped[float | None] = mapped_column(Float)
    scale: Mapped[float | None] = mapped_column(Float)
    reason_json: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16), default="PROPOSED")
    created_at: Mapped[Created]

    run: Mapped[RebalanceRun] = relationship(back_populates="orders")


__all__ = ["RebalancePolicy", "RebalanceRun", "RebalanceRunOrder", "RebalanceSchedule"]
