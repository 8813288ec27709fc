"""Risk profiles and thresholds, daily equity, and the log of what the risk engine decided."""

from __future__ import annotations

from datetime import date

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id, Touched


class RiskProfile(Base):
    """Limits and times that apply to trades of one product."""

    __tablename__ = "risk_profiles"
    __table_args__ = (
        UniqueConstraint("name", name="ux_risk_profiles_name"),
        CheckConstraint("drawdown_mode IN ('SETTINGS_BY_CATEGORY')", name="ck_risk_profiles_drawdown_mode"),
        CheckConstraint("product IN ('CNC', 'MIS')", name="ck_risk_profiles_product"),
        Index("ix_risk_profiles_product_enabled", "product", "enabled"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(255))
    product: Mapped[str] = mapped_column(String(16), default="CNC")
    capital_per_trade: Mapped[float] = mapped_column(Float, default=0.0)
    max_positions: Mapped[int] = mapped_column(default=0)
    max_exposure_pct: Mapped[float] = mapped_column(Float, default=0.0)
    risk_per_trade_pct: Mapped[float] = mapped_column(Float, default=0.0)
    hard_risk_pct: Mapped[float] = mapped_column(Float, default=0.0)
    daily_loss_pct: Mapped[float] = mapped_column(Float, default=0.0)
    hard_daily_loss_pct: Mapped[float] = mapped_column(Float, default=0.0)
    max_consecutive_losses: Mapped[int] = mapped_column(default=0)
    drawdown_mode: Mapped[str] = mapped_column(String(32), default="SETTINGS_BY_CATEGORY")
    force_exit_time: Mapped[str | None] = mapped_column(String(8))
    entry_cutoff_time: Mapped[str | None] = mapped_column(String(8))
    force_squareoff_time: Mapped[str | None] = mapped_column(String(8))
    max_trades_per_day: Mapped[int | None]
    max_trades_per_symbol_per_day: Mapped[int | None]
    min_bars_between_trades: Mapped[int | None]
    cooldown_after_loss_bars: Mapped[int | None]
    slippage_guard_bps: Mapped[float | None] = mapped_column(Float)
    gap_guard_pct: Mapped[float | None] = mapped_column(Float)
    order_type_policy: Mapped[str | None] = mapped_column(String(32))
    leverage_mode: Mapped[str | None] = mapped_column(String(16))
    max_effective_leverage: Mapped[float | None] = mapped_column(Float)
    max_margin_used_pct: Mapped[float | None] = mapped_column(Float)
    enabled: Mapped[bool] = mapped_column(default=True)
    is_default: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class SymbolRiskCategory(Base):
    """The size category of a symbol, per user and broker."""

    __tablename__ = "symbol_risk_categories"
    __table_args__ = (
        UniqueConstraint(
            "user_id", "broker_name", "symbol", "exchange", name="ux_symbol_risk_categories_scope"
        ),
        CheckConstraint(
            "risk_category IN ('LC', 'MC', 'SC', 'ETF')", name="ck_symbol_risk_categories_category"
        ),
        Index("ix_symbol_risk_categories_user_symbol", "user_id", "broker_name", "symbol", "exchange"),
    )

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    broker_name: Mapped[str] = mapped_column(String(32), default="zerodha")
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str] = mapped_column(String(16), default="NSE")
    risk_category: Mapped[str] = mapped_column(String(16), default="LC")
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class DrawdownThreshold(Base):
    """At which drawdown a product and category is slowed or stopped."""

    __tablename__ = "drawdown_thresholds"
    __table_args__ = (
        UniqueConstraint("user_id", "product", "category", name="ux_drawdown_thresholds_scope"),
        CheckConstraint("category IN ('LC', 'MC', 'SC', 'ETF')", name="ck_drawdown_thresholds_category"),
        CheckConstraint("product IN ('CNC', 'MIS')", name="ck_drawdown_thresholds_product"),
        Index("ix_drawdown_thresholds_product_category", "product", "category"),
    )

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    product: Mapped[str] = mapped_column(String(16))
    category: Mapped[str] = mapped_column(String(16))
    caution_pct: Mapped[float] = mapped_column(Float, default=0.0)
    defense_pct: Mapped[float] = mapped_column(Float, default=0.0)
    hard_stop_pct: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class EquitySnapshot(Base):
    """Equity, peak and drawdown of one user on one day."""

    __tablename__ = "equity_snapshots"
    __table_args__ = (
        UniqueConstraint("user_id", "as_of_date", name="ux_equity_snapshots_scope"),
        Index("ix_equity_snapshots_user_date", "user_id", "as_of_date"),
    )

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    as_of_date: Mapped[date]
    equity: Mapped[float] = mapped_column(Float, default=0.0)
    peak_equity: Mapped[float] = mapped_column(Float, default=0.0)
    drawdown_pct: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class AlertDecisionLog(Base):
    """One decision of the risk engine on an alert, with its reasons."""

    __tablename__ = "alert_decision_logs"
    __table_args__ = (
        Index("ix_alert_decision_logs_alert_id", "alert_id"),
        Index("ix_alert_decision_logs_created", "created_at"),
        Index("ix_alert_decision_logs_user_created", "user_id", "created_at"),
    )

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    alert_id: Mapped[int | None] = mapped_column(ForeignKey("alerts.id", ondelete="SET NULL"))
    order_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id", ondelete="SET NULL"))
    source: Mapped[str] = mapped_column(String(32), default="ALERT")
    strategy_ref: Mapped[str | None] = mapped_column(String(255))
    symbol: Mapped[str | None] = mapped_column(String(128))
    exchange: Mapped[str | None] = mapped_column(String(16))
    side: Mapped[str | None] = mapped_column(String(8))
    trigger_price: Mapped[float | None] = mapped_column(Float)
    product_hint: Mapped[str | None] = mapped_column(String(16))
    resolved_product: Mapped[str | None] = mapped_column(String(16))
    risk_profile_id: Mapped[int | None] = mapped_column(ForeignKey("risk_profiles.id", ondelete="SET NULL"))
    risk_category: Mapped[str | None] = mapped_column(String(16))
    drawdown_pct: Mapped[float | None] = mapped_column(Float)
    drawdown_state: Mapped[str | None] = mapped_column(String(16))
    decision: Mapped[str] = mapped_column(String(16), default="BLOCKED")
    reasons_json: Mapped[str] = mapped_column(Text, default="[]")
    details_json: Mapped[str] = mapped_column(Text, default="{}")
    created_at: Mapped[Created]


__all__ = ["AlertDecisionLog", "DrawdownThreshold", "EquitySnapshot", "RiskProfile", "SymbolRiskCategory"]
