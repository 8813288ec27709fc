"""Saved templates of the message that TradingView sends to the webhook."""

from __future__ import annotations

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id, Touched


class TradingViewAlertPayloadTemplate(Base):
    """A named template; its content is JSON text."""

    __tablename__ = "tradingview_alert_payload_templates"
    __table_args__ = (
        UniqueConstraint("name", name="ux_tradingview_alert_payload_templates_name"),
        Index("ix_tradingview_alert_payload_templates_updated_at", "updated_at"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(255))
    config_json: Mapped[str] = mapped_column(Text, default="{}")
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["TradingViewAlertPayloadTemplate"]
