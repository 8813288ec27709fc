"""Per strategy, symbol and day: what the execution policy has to remember."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Float, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched


class ExecutionPolicyState(Base):
    """Counters and pauses of one strategy on one symbol for one trade date."""

    __tablename__ = "execution_policy_state"
    __table_args__ = (
        UniqueConstraint(
            "user_id", "strategy_ref", "symbol", "product", name="ux_execution_policy_state_scope"
        ),
        Index("ix_execution_policy_state_updated_at", "updated_at"),
        Index("ix_execution_policy_state_user_strategy", "user_id", "strategy_ref"),
    )

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(default=0)
    strategy_ref: Mapped[str] = mapped_column(String(128))
    symbol: Mapped[str] = mapped_column(String(128))
    product: Mapped[str] = mapped_column(String(16), default="MIS")
    interval_minutes: Mapped[int] = mapped_column(default=5)
    interval_source: Mapped[str] = mapped_column(String(32), default="persisted")
    default_interval_logged: Mapped[bool] = mapped_column(default=False)
    inflight_order_id: Mapped[int | None]
    inflight_started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    inflight_expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    trade_date: Mapped[date]
    trades_today: Mapped[int] = mapped_column(default=0)
    last_trade_time: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_trade_bar_index: Mapped[int | None]
    consecutive_losses: Mapped[int] = mapped_column(default=0)
    last_loss_time: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_loss_bar_index: Mapped[int | None]
    paused_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    paused_reason: Mapped[str | None] = mapped_column(String(255))
    open_side: Mapped[str | None] = mapped_column(String(8))
    open_qty: Mapped[float] = mapped_column(Float, default=0.0)
    open_avg_price: Mapped[float | None] = mapped_column(Float)
    open_realized_pnl: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["ExecutionPolicyState"]
