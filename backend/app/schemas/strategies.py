"""Shapes of the strategies calls."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from app.schemas.types import Answer

Mode = Literal["AUTO", "MANUAL"]
Target = Literal["LIVE", "PAPER"]
Scope = Literal["GLOBAL", "LOCAL"]
Name = Annotated[str, Field(max_length=255)]
PollSeconds = Annotated[int, Field(ge=15, le=14400)]


class StrategyRead(Answer):
    """One strategy; stored values outside of the known sets are shown as they are."""

    name: str
    description: str | None
    execution_mode: str
    execution_target: str
    paper_poll_interval_sec: int | None
    enabled: bool
    available_for_alert: bool
    scope: str | None
    dsl_expression: str | None
    id: int
    is_builtin: bool


class StrategyCreate(BaseModel):
    """A new strategy."""

    name: Name
    description: str | None = None
    execution_mode: Mode = "MANUAL"
    execution_target: Target = "LIVE"
    paper_poll_interval_sec: PollSeconds | None = None
    enabled: bool = True
    available_for_alert: bool = True
    scope: Scope | None = None
    dsl_expression: str | None = None


class StrategyUpdate(BaseModel):
    """Changes to a strategy; only members that are present are set."""

    name: Name | None = None
    description: str | None = None
    execution_mode: Mode | None = None
    execution_target: Target | None = None
    paper_poll_interval_sec: PollSeconds | None = None
    enabled: bool | None = None
    available_for_alert: bool | None = None
    scope: Scope | None = None
    dsl_expression: str | None = None

    @model_validator(mode="after")
    def _required_stay_set(self) -> StrategyUpdate:
        required = ("name", "execution_mode", "execution_target", "enabled", "available_for_alert")
        empty = [name for name in required if name in self.model_fields_set and getattr(self, name) is None]
        if empty:
            raise ValueError(f"must not be null: {', '.join(empty)}")
        return self
