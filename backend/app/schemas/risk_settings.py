"""Shapes of the risk settings calls."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, model_validator

from app.schemas.types import Answer, FiniteFloat, Int64

RiskScope = Literal["GLOBAL", "STRATEGY"]
GLOBAL_WITH_STRATEGY = "GLOBAL risk settings must not reference a strategy_id"
STRATEGY_WITHOUT_ID = "STRATEGY risk settings require a strategy_id"


def scope_problem(scope: str | None, strategy_id: int | None) -> str | None:
    """What is wrong with the pair, None when it fits."""
    if scope == "GLOBAL" and strategy_id is not None:
        return GLOBAL_WITH_STRATEGY
    return STRATEGY_WITHOUT_ID if scope == "STRATEGY" and strategy_id is None else None


class RiskSettingsRead(Answer):
    """One set of limits. Values in rupees, quantities in units."""

    scope: str
    strategy_id: int | None
    max_order_value: float | None
    max_quantity_per_order: float | None
    max_daily_loss: float | None
    allow_short_selling: bool
    max_open_positions: int | None
    clamp_mode: str
    symbol_whitelist: str | None
    symbol_blacklist: str | None
    id: int


class RiskSettingsCreate(BaseModel):
    """New limits."""

    scope: RiskScope = "STRATEGY"
    strategy_id: Int64 | None = None
    max_order_value: FiniteFloat | None = None
    max_quantity_per_order: FiniteFloat | None = None
    max_daily_loss: FiniteFloat | None = None
    allow_short_selling: bool = True
    max_open_positions: Int64 | None = None
    clamp_mode: Literal["CLAMP", "REJECT"] = "CLAMP"
    symbol_whitelist: str | None = None
    symbol_blacklist: str | None = None

    @model_validator(mode="after")
    def _scope_fits(self) -> RiskSettingsCreate:
        problem = scope_problem(self.scope, self.strategy_id)
        if problem:
            raise ValueError(problem)
        return self


class RiskSettingsUpdate(BaseModel):
    """Changes to limits; only members that are present are set."""

    scope: RiskScope | None = None
    strategy_id: Int64 | None = None
    max_order_value: FiniteFloat | None = None
    max_quantity_per_order: FiniteFloat | None = None
    max_daily_loss: FiniteFloat | None = None
    allow_short_selling: bool | None = None
    max_open_positions: Int64 | None = None
    clamp_mode: Literal["CLAMP", "REJECT"] | None = None
    symbol_whitelist: str | None = None
    symbol_blacklist: str | None = None

    @model_validator(mode="after")
    def _required_stay_set(self) -> RiskSettingsUpdate:
        for name in ("scope", "allow_short_selling", "clamp_mode"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} must not be null")
        return self
