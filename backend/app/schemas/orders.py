"""Shapes of the orders calls."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from app.schemas.types import Answer, FiniteFloat, Int64

Side = Literal["BUY", "SELL"]
OrderType = Literal["MARKET", "LIMIT", "SL", "SL-M"]
Target = Literal["LIVE", "PAPER"]


class OrderRead(Answer):
    """One order. Status and target are plain text: a stored value outside the known set is shown as it is."""

    id: int
    alert_id: int | None
    strategy_id: int | None
    portfolio_group_id: int | None
    origin: str
    broker_name: str
    symbol: str
    exchange: str | None
    side: str
    qty: float
    price: float | None
    trigger_price: float | None
    trigger_percent: float | None
    order_type: str
    product: str
    gtt: bool
    synthetic_gtt: bool
    trigger_operator: str | None
    armed_at: datetime | None
    last_checked_at: datetime | None
    last_seen_price: float | None
    triggered_at: datetime | None
    status: str
    mode: str
    execution_target: str
    simulated: bool
    created_at: datetime
    updated_at: datetime
    broker_order_id: str | None
    zerodha_order_id: str | None
    broker_account_id: str | None
    error_message: str | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ExitRule(_Strict):
    """One part of a risk specification; `value` in the unit of `mode`."""

    enabled: bool = False
    mode: Literal["ABS", "PCT", "ATR"] = "PCT"
    value: FiniteFloat = 0.0
    atr_period: Int64 = 14
    atr_tf: Literal["1m", "5m", "15m", "30m", "1h", "1d"] = "5m"

    @model_validator(mode="after")
    def _enabled_needs_value(self) -> ExitRule:
        if self.enabled and self.value <= 0:
            raise ValueError("an enabled rule needs a positive value")
        return self


class RiskSpec(_Strict):
    """Exits that go with an order."""

    stop_loss: ExitRule = ExitRule()
    trailing_stop: ExitRule = ExitRule()
    trailing_activation: ExitRule = ExitRule()
    exit_order_type: Literal["MARKET"] = "MARKET"
    cooldown_ms: Int64 | None = None

    @model_validator(mode="after")
    def _parts_build_on_each_other(self) -> RiskSpec:
        if self.trailing_stop.enabled and not self.stop_loss.enabled:
            raise ValueError("a trailing stop needs a stop loss")
        if self.trailing_activation.enabled and not self.trailing_stop.enabled:
            raise ValueError("a trailing activation needs a trailing stop")
        return self


class OrderCreate(BaseModel):
    """A manual order. Prices in rupees, quantity in units."""

    symbol: str
    side: Side
    qty: FiniteFloat
    broker_name: str = "zerodha"
    portfolio_group_id: Int64 | None = None
    exchange: str | None = None
    price: FiniteFloat | None = None
    trigger_price: FiniteFloat | None = None
    order_type: OrderType = "MARKET"
    product: str = "CNC"
    gtt: bool = False
    mode: Literal["MANUAL", "AUTO"] = "MANUAL"
    execution_target: Target = "LIVE"
    risk_spec: RiskSpec | None = None


class OrderUpdate(BaseModel):
    """Changes to a waiting order; null and absent members are left alone."""

    qty: FiniteFloat | None = None
    price: FiniteFloat | None = None
    trigger_price: FiniteFloat | None = None
    trigger_percent: FiniteFloat | None = None
    side: Side | None = None
    order_type: OrderType | None = None
    execution_target: Target | None = None
    product: str | None = None
    gtt: bool | None = None


class OrderStatusUpdate(BaseModel):
    """The two statuses a person may set."""

    status: Literal["WAITING", "CANCELLED"]


class SyncResult(BaseModel):
    """How many orders a sync changed."""

    updated: int
