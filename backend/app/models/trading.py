"""The core of trading: strategies, alerts, orders, positions and what is derived from them."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import CheckConstraint, DateTime, Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched


class Strategy(Base):
    """A strategy that alerts and orders belong to."""

    __tablename__ = "strategies"
    __table_args__ = (
        CheckConstraint("execution_mode IN ('AUTO', 'MANUAL')", name="ck_strategies_execution_mode"),
        CheckConstraint("execution_target IN ('LIVE', 'PAPER')", name="ck_strategies_execution_target"),
        Index("ix_strategies_execution_mode", "execution_mode"),
        Index("ix_strategies_execution_target", "execution_target"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(255), unique=True)
    description: Mapped[str | None] = mapped_column(Text)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    scope: Mapped[str | None] = mapped_column(String(16))
    dsl_expression: Mapped[str | None] = mapped_column(Text)
    expression_json: Mapped[str | None] = mapped_column(Text)
    is_builtin: Mapped[bool] = mapped_column(default=False)
    execution_mode: Mapped[str] = mapped_column(String(16), default="MANUAL")
    execution_target: Mapped[str] = mapped_column(String(16), default="LIVE")
    paper_poll_interval_sec: Mapped[int | None]
    enabled: Mapped[bool] = mapped_column(default=True)
    available_for_alert: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    alerts: Mapped[list[Alert]] = relationship(back_populates="strategy", cascade="all, delete-orphan")
    orders: Mapped[list[Order]] = relationship(back_populates="strategy")
    risk_settings: Mapped[list[RiskSettings]] = relationship(
        back_populates="strategy", cascade="all, delete-orphan"
    )


class RiskSettings(Base):
    """Limits on orders, for everything or for one strategy."""

    __tablename__ = "risk_settings"
    __table_args__ = (
        UniqueConstraint("scope", "strategy_id", name="ux_risk_settings_scope_strategy"),
        CheckConstraint("scope IN ('GLOBAL', 'STRATEGY')", name="ck_risk_settings_scope"),
        CheckConstraint(
            "(scope = 'GLOBAL' AND strategy_id IS NULL) OR (scope = 'STRATEGY' AND strategy_id IS NOT NULL)",
            name="ck_risk_settings_scope_strategy",
        ),
    )

    id: Mapped[Id]
    scope: Mapped[str] = mapped_column(String(16), default="STRATEGY")
    strategy_id: Mapped[int | None] = mapped_column(ForeignKey("strategies.id", ondelete="CASCADE"))
    max_order_value: Mapped[float | None] = mapped_column(Float)
    max_quantity_per_order: Mapped[float | None] = mapped_column(Float)
    max_daily_loss: Mapped[float | None] = mapped_column(Float)
    allow_short_selling: Mapped[bool] = mapped_column(default=True)
    max_open_positions: Mapped[int | None]
    clamp_mode: Mapped[str] = mapped_column(String(16), default="CLAMP")
    symbol_whitelist: Mapped[str | None] = mapped_column(Text)
    symbol_blacklist: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    strategy: Mapped[Strategy | None] = relationship(back_populates="risk_settings")


class IndicatorRule(Base):
    """A rule over indicators that raises alerts or orders."""

    __tablename__ = "indicator_rules"
    __table_args__ = (
        Index("ix_indicator_rules_user_symbol", "user_id", "symbol"),
        Index("ix_indicator_rules_user_timeframe", "user_id", "timeframe"),
    )

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    strategy_id: Mapped[int | None] = mapped_column(ForeignKey("strategies.id", ondelete="SET NULL"))
    name: Mapped[str | None] = mapped_column(String(255))
    symbol: Mapped[str | None] = mapped_column(String(128))
    universe: Mapped[str | None] = mapped_column(String(32))
    exchange: Mapped[str | None] = mapped_column(String(32))
    timeframe: Mapped[str] = mapped_column(String(8), default="1d")
    logic: Mapped[str] = mapped_column(String(8), default="AND")
    conditions_json: Mapped[str] = mapped_column(Text)
    expression_json: Mapped[str | None] = mapped_column(Text)
    dsl_expression: Mapped[str | None] = mapped_column(Text)
    target_type: Mapped[str | None] = mapped_column(String(16))
    target_id: Mapped[str | None] = mapped_column(String(128))
    trigger_mode: Mapped[str] = mapped_column(String(32), default="ONCE")
    action_type: Mapped[str] = mapped_column(String(32), default="ALERT_ONLY")
    action_params_json: Mapped[str] = mapped_column(Text, default="{}")
    last_evaluated_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_triggered_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    alerts: Mapped[list[Alert]] = relationship(back_populates="rule")
    strategy: Mapped[Strategy | None] = relationship()


class Alert(Base):
    """A signal that arrived from outside or was raised by a rule."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index("ix_alerts_strategy_time", "strategy_id", "received_at"),
        Index("ix_alerts_symbol_time", "symbol", "received_at"),
    )

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    strategy_id: Mapped[int | None] = mapped_column(ForeignKey("strategies.id", ondelete="SET NULL"))
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str | None] = mapped_column(String(64))
    interval: Mapped[str | None] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(8))
    qty: Mapped[float | None] = mapped_column(Float)
    price: Mapped[float | None] = mapped_column(Float)
    platform: Mapped[str] = mapped_column(String(32), default="TRADINGVIEW")
    source: Mapped[str] = mapped_column(String(32), default="TRADINGVIEW")
    rule_id: Mapped[int | None] = mapped_column(ForeignKey("indicator_rules.id", ondelete="SET NULL"))
    raw_payload: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[Created]
    bar_time: Mapped[datetime | None] = mapped_column(DateTime)

    orders: Mapped[list[Order]] = relationship(back_populates="alert")
    rule: Mapped[IndicatorRule | None] = relationship(back_populates="alerts")
    strategy: Mapped[Strategy | None] = relationship(back_populates="alerts")


class Order(Base):
    """An order on its way to a broker or to the simulation."""

    __tablename__ = "orders"
    __table_args__ = (
        Index("ix_orders_alert_id", "alert_id"),
        Index("ix_orders_broker_name_order_id", "broker_name", "broker_order_id"),
        Index("ix_orders_deployment_action_id", "deployment_action_id"),
        Index("ix_orders_deployment_id", "deployment_id"),
        Index("ix_orders_portfolio_group_id", "portfolio_group_id"),
        Index("ix_orders_strategy_status", "strategy_id", "status"),
        Index("ix_orders_symbol_time", "symbol", "created_at"),
        Index("ix_orders_synthetic_status", "synthetic_gtt", "status"),
        Index("ux_orders_client_order_id", "client_order_id", unique=True),
    )

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    alert_id: Mapped[int | None] = mapped_column(ForeignKey("alerts.id", ondelete="SET NULL"))
    strategy_id: Mapped[int | None] = mapped_column(ForeignKey("strategies.id", ondelete="SET NULL"))
    portfolio_group_id: Mapped[int | None] = mapped_column(ForeignKey("groups.id", ondelete="SET NULL"))
    deployment_id: Mapped[int | None] = mapped_column(
        ForeignKey("strategy_deployments.id", ondelete="SET NULL")
    )
    deployment_action_id: Mapped[int | None] = mapped_column(
        ForeignKey("strategy_deployment_actions.id", ondelete="SET NULL")
    )
    client_order_id: Mapped[str | None] = mapped_column(String(128))
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str | None] = mapped_column(String(64))
    side: Mapped[str] = mapped_column(String(8))
    qty: Mapped[float] = mapped_column(Float)
    price: Mapped[float | None] = mapped_column(Float)
    order_type: Mapped[str] = mapped_column(String(16), default="MARKET")
    trigger_price: Mapped[float | None] = mapped_column(Float)
    trigger_percent: Mapped[float | None] = mapped_column(Float)
    product: Mapped[str] = mapped_column(String(16), default="MIS")
    gtt: Mapped[bool] = mapped_column(default=False)
    synthetic_gtt: Mapped[bool] = mapped_column(default=False)
    trigger_operator: Mapped[str | None] = mapped_column(String(2))
    armed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_checked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_seen_price: Mapped[float | None] = mapped_column(Float)
    triggered_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    status: Mapped[str] = mapped_column(String(32), default="WAITING")
    mode: Mapped[str] = mapped_column(String(16), default="MANUAL")
    execution_target: Mapped[str] = mapped_column(String(16), default="LIVE")
    broker_name: Mapped[str] = mapped_column(String(32), default="zerodha")
    broker_order_id: Mapped[str | None] = mapped_column(String(64))
    zerodha_order_id: Mapped[str | None] = mapped_column(String(64))
    broker_account_id: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    simulated: Mapped[bool] = mapped_column(default=False)
    risk_spec_json: Mapped[str | None] = mapped_column(Text)
    is_exit: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    alert: Mapped[Alert | None] = relationship(back_populates="orders")
    strategy: Mapped[Strategy | None] = relationship(back_populates="orders")

    @property
    def origin(self) -> str:
        """Where the order came from: `MANUAL`, or the source of its alert in capitals."""
        if self.alert is None:
            return "MANUAL" if self.alert_id is None else "ALERT"
        return (self.alert.source or self.alert.platform or "ALERT").upper()


class Position(Base):
    """The net position in a symbol and product, as the broker reports it."""

    __tablename__ = "positions"
    __table_args__ = (
        UniqueConstraint(
            "broker_name", "symbol", "exchange", "product", name="ux_positions_broker_symbol_exchange_product"
        ),
        Index("ix_positions_broker_symbol", "broker_name", "symbol"),
    )

    id: Mapped[Id]
    broker_name: Mapped[str] = mapped_column(String(32), default="zerodha")
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str] = mapped_column(String(32), default="NSE")
    product: Mapped[str] = mapped_column(String(16))
    qty: Mapped[float] = mapped_column(Float)
    avg_price: Mapped[float] = mapped_column(Float)
    pnl: Mapped[float] = mapped_column(Float, default=0.0)
    last_updated: Mapped[Created]


class PositionSnapshot(Base):
    """A position as it stood on one day."""

    __tablename__ = "position_snapshots"
    __table_args__ = (
        UniqueConstraint(
            "broker_name",
            "as_of_date",
            "symbol",
            "exchange",
            "product",
            name="ux_position_snapshots_broker_date_symbol_exchange_product",
        ),
        Index("ix_position_snapshots_broker_date_symbol", "broker_name", "as_of_date", "symbol"),
        Index("ix_position_snapshots_broker_symbol_date", "broker_name", "symbol", "as_of_date"),
    )

    id: Mapped[Id]
    broker_name: Mapped[str] = mapped_column(String(32), default="zerodha")
    as_of_date: Mapped[date]
    captured_at: Mapped[Created]
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str] = mapped_column(String(32), default="NSE")
    product: Mapped[str] = mapped_column(String(16))
    qty: Mapped[float] = mapped_column(Float)
    avg_price: Mapped[float] = mapped_column(Float, default=0.0)
    pnl: Mapped[float] = mapped_column(Float, default=0.0)
    last_price: Mapped[float | None] = mapped_column(Float)
    close_price: Mapped[float | None] = mapped_column(Float)
    value: Mapped[float | None] = mapped_column(Float)
    m2m: Mapped[float | None] = mapped_column(Float)
    unrealised: Mapped[float | None] = mapped_column(Float)
    realised: Mapped[float | None] = mapped_column(Float)
    buy_qty: Mapped[float | None] = mapped_column(Float)
    buy_avg_price: Mapped[float | None] = mapped_column(Float)
    sell_qty: Mapped[float | None] = mapped_column(Float)
    sell_avg_price: Mapped[float | None] = mapped_column(Float)
    day_buy_qty: Mapped[float | None] = mapped_column(Float)
    day_buy_avg_price: Mapped[float | None] = mapped_column(Float)
    day_sell_qty: Mapped[float | None] = mapped_column(Float)
    day_sell_avg_price: Mapped[float | None] = mapped_column(Float)
    holding_qty: Mapped[float | None] = mapped_column(Float)


class ManagedRiskPosition(Base):
    """A position whose stop is managed by the application."""

    __tablename__ = "managed_risk_positions"
    __table_args__ = (
        UniqueConstraint("entry_order_id", name="ux_managed_risk_positions_entry_order_id"),
        Index("ix_managed_risk_positions_broker_symbol", "broker_name", "symbol", "exchange", "product"),
        Index("ix_managed_risk_positions_exit_order_id", "exit_order_id"),
        Index("ix_managed_risk_positions_status", "status"),
    )

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    entry_order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    broker_name: Mapped[str] = mapped_column(String(32), default="zerodha")
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str] = mapped_column(String(32), default="NSE")
    product: Mapped[str] = mapped_column(String(16))
    side: Mapped[str] = mapped_column(String(8))
    qty: Mapped[float] = mapped_column(Float)
    execution_target: Mapped[str] = mapped_column(String(16), default="LIVE")
    risk_spec_json: Mapped[str] = mapped_column(Text, default="{}")
    entry_price: Mapped[float] = mapped_column(Float)
    stop_distance: Mapped[float | None] = mapped_column(Float)
    trail_distance: Mapped[float | None] = mapped_column(Float)
    activation_distance: Mapped[float | None] = mapped_column(Float)
    best_favorable_price: Mapped[float] = mapped_column(Float)
    trail_price: Mapped[float | None] = mapped_column(Float)
    is_trailing_active: Mapped[bool] = mapped_column(default=False)
    last_ltp: Mapped[float | None] = mapped_column(Float)
    status: Mapped[str] = mapped_column(String(16), default="ACTIVE")
    exit_order_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id", ondelete="SET NULL"))
    exit_reason: Mapped[str | None] = mapped_column(String(16))
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class AnalyticsTrade(Base):
    """A closed trade: an entry and an exit order with their result."""

    __tablename__ = "analytics_trades"
    __table_args__ = (Index("ix_analytics_trades_strategy_closed_at", "strategy_id", "closed_at"),)

    id: Mapped[Id]
    entry_order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    exit_order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    strategy_id: Mapped[int | None] = mapped_column(ForeignKey("strategies.id", ondelete="SET NULL"))
    pnl: Mapped[float] = mapped_column(Float)
    r_multiple: Mapped[float | None] = mapped_column(Float)
    opened_at: Mapped[datetime] = mapped_column(UTCDateTime)
    closed_at: Mapped[datetime] = mapped_column(UTCDateTime)


__all__ = [
    "Alert",
    "AnalyticsTrade",
    "ManagedRiskPosition",
    "Order",
    "Position",
    "PositionSnapshot",
    "RiskSettings",
    "Strategy",
]
