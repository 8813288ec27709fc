"""Alert definitions in the expression language, their firings, and user-made indicators."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched


class AlertDefinition(Base):
    """A condition that is evaluated on a schedule and acts when it becomes true."""

    __tablename__ = "alert_definitions"
    __table_args__ = (
        CheckConstraint(
            "action_type IN ('ALERT_ONLY', 'BUY', 'SELL')", name="ck_alert_definitions_action_type"
        ),
        CheckConstraint(
            "target_kind IN ('SYMBOL', 'HOLDINGS', 'GROUP')", name="ck_alert_definitions_target_kind"
        ),
        CheckConstraint(
            "trigger_mode IN ('ONCE', 'ONCE_PER_BAR', 'EVERY_TIME')", name="ck_alert_definitions_trigger_mode"
        ),
        Index(
            "ix_alert_definitions_user_broker_target", "user_id", "broker_name", "target_kind", "target_ref"
        ),
        Index("ix_alert_definitions_user_enabled", "user_id", "enabled"),
    )

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(255))
    broker_name: Mapped[str] = mapped_column(String(32), default="zerodha")
    target_kind: Mapped[str] = mapped_column(String(16), default="SYMBOL")
    target_ref: Mapped[str] = mapped_column(String(128))
    symbol: Mapped[str | None] = mapped_column(String(128))
    exchange: Mapped[str | None] = mapped_column(String(32))
    evaluation_cadence: Mapped[str] = mapped_column(String(8), default="1m")
    variables_json: Mapped[str] = mapped_column(Text, default="[]")
    condition_dsl: Mapped[str] = mapped_column(Text)
    condition_ast_json: Mapped[str | None] = mapped_column(Text)
    signal_strategy_version_id: Mapped[int | None] = mapped_column(
        ForeignKey("signal_strategy_versions.id", ondelete="SET NULL")
    )
    signal_strategy_output: Mapped[str | None] = mapped_column(String(64))
    signal_strategy_params_json: Mapped[str] = mapped_column(Text, default="{}")
    action_type: Mapped[str] = mapped_column(String(16), default="ALERT_ONLY")
    action_params_json: Mapped[str] = mapped_column(Text, default="{}")
    trigger_mode: Mapped[str] = mapped_column(String(32), default="ONCE_PER_BAR")
    throttle_seconds: Mapped[int | None]
    only_market_hours: Mapped[bool] = mapped_column(default=False)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    enabled: Mapped[bool] = mapped_column(default=True)
    last_evaluated_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_triggered_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class AlertEvent(Base):
    """One firing of an alert definition."""

    __tablename__ = "alert_events"
    __table_args__ = (
        Index("ix_alert_events_alert_time", "alert_definition_id", "triggered_at"),
        Index("ix_alert_events_symbol_time", "symbol", "triggered_at"),
    )

    id: Mapped[Id]
    alert_definition_id: Mapped[int] = mapped_column(ForeignKey("alert_definitions.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str | None] = mapped_column(String(64))
    evaluation_cadence: Mapped[str | None] = mapped_column(String(8))
    reason: Mapped[str | None] = mapped_column(Text)
    snapshot_json: Mapped[str] = mapped_column(Text, default="{}")
    triggered_at: Mapped[Created]
    bar_time: Mapped[datetime | None] = mapped_column(DateTime)


class CustomIndicator(Base):
    """An indicator that a user wrote in the expression language."""

    __tablename__ = "custom_indicators"
    __table_args__ = (
        UniqueConstraint("user_id", "name", name="ux_custom_indicators_user_name"),
        Index("ix_custom_indicators_user_enabled", "user_id", "enabled"),
    )

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    params_json: Mapped[str] = mapped_column(Text, default="[]")
    body_dsl: Mapped[str] = mapped_column(Text)
    body_ast_json: Mapped[str | None] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["AlertDefinition", "AlertEvent", "CustomIndicator"]
