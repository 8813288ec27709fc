"""Shapes of the webhook settings calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.schemas.types import Int64


class SecretText(BaseModel):
    """The webhook secret; blank removes the stored one."""

    value: str


class SecretInForce(BaseModel):
    """The secret in force and where it comes from."""

    value: str | None
    source: Literal["db", "env", "unset"]


class RoutingRead(BaseModel):
    """How webhook orders are routed."""

    mode: str
    broker_name: str
    execution_target: str
    default_product: str
    fallback_to_waiting_on_error: bool


class RoutingUpdate(BaseModel):
    """Changes to the routing; null and absent members keep their value."""

    mode: str | None = None
    broker_name: str | None = None
    execution_target: str | None = None
    default_product: str | None = None
    fallback_to_waiting_on_error: bool | None = None


class Hint(BaseModel):
    """One line of the hints part of an alert text."""

    key: str
    type: Literal["string", "number", "boolean", "enum"] = "string"
    value: Any = None
    enum_options: list[str] | None = None


class TemplateConfig(BaseModel):
    """The content of an alert text template."""

    version: str = "1.0"
    signal: dict[str, Any] = Field(default_factory=dict)
    signal_enabled: dict[str, bool] = Field(default_factory=dict)
    hints: list[Hint] = Field(default_factory=list)


class TemplateWrite(BaseModel):
    """A template to store under its name."""

    name: Annotated[str, Field(max_length=255)]
    config: TemplateConfig


class TemplateSummary(BaseModel):
    """A template in the list."""

    id: Int64
    name: str
    updated_at: datetime


class TemplateRead(TemplateSummary):
    """A template with its content."""

    config: TemplateConfig
