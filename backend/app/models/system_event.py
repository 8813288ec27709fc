"""Things the operator should know: errors, changes of settings, security events."""

from __future__ import annotations

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id


class SystemEvent(Base):
    """One event with its level, category and correlation id."""

    __tablename__ = "system_events"

    id: Mapped[Id]
    level: Mapped[str] = mapped_column(String(16))
    category: Mapped[str] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(String(255))
    details: Mapped[str | None] = mapped_column(Text)
    correlation_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[Created]


__all__ = ["SystemEvent"]
