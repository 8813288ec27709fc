"""The webhook payload after its shape has been normalised.

The member order is the order of the stored payload text, over which the idempotency key is hashed: it
must not change, or a delivery that is sent again would count as a new one.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field, field_validator, model_validator

from app.schemas.webhook_shapes import normalise_payload, normalise_trade_details

SIDES = ("BUY", "SELL")


class TradeDetails(BaseModel):
    """The order part of an alert. Quantity in units and price in rupees; NaN counts as not given."""

    order_action: str
    quantity: float | None = None
    price: float | None = None
    product: str | None = None
    trade_type: str | None = None
    comment: str | None = None
    alert_message: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, value: Any) -> Any:
        return normalise_trade_details(value) if isinstance(value, dict) else value

    @field_validator("order_action")
    @classmethod
    def _known_side(cls, value: str) -> str:
        if value.upper() not in SIDES:
            raise ValueError("order_action must be BUY or SELL")
        return value.upper()

    @field_validator("quantity", "price")
    @classmethod
    def _not_infinite(cls, value: float | None) -> float | None:
        if value is not None and math.isinf(value):
            raise ValueError("must not be infinite")
        return value


class TradingViewWebhookPayload(BaseModel):
    """An alert; raw objects of any accepted shape are normalised (in place) before they are checked."""

    secret: str
    platform: str = "TRADINGVIEW"
    payload_format: str | None = None
    strategy_id: str | None = None
    product_hint: str | None = None
    order_id: str | None = None
    strategy_name: str
    st_user_id: str | None = None
    symbol: str
    exchange: str | None = None
    interval: str | None = None
    trade_details: TradeDetails
    bar_time: datetime | None = None
    timestamp: datetime | None = None
    hints: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, value: Any) -> Any:
        return normalise_payload(value) if isinstance(value, dict) else value

    @property
    def strategy_key(self) -> str:
        """The name under which the strategy is looked up."""
        return (self.strategy_id or self.strategy_name).strip()
