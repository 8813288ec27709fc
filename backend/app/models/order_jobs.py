"""The queue of orders that are to be sent: one job per order."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched

OPEN = text("status = 'PENDING'")
RUNNING = text("status = 'RUNNING'")
DEAD = text("status = 'FAILED'")


class OrderJob(Base):
    """An order's dispatch. Lower priorities come first; FAILED is a dead letter, which a person can repeat."""

    __tablename__ = "order_jobs"
    __table_args__ = (
        UniqueConstraint("order_id", name="ux_order_jobs_order_id"),
        CheckConstraint("status IN ('PENDING', 'RUNNING', 'DONE', 'FAILED')", name="ck_order_jobs_status"),
        Index("ix_order_jobs_open", "priority", "id", postgresql_where=OPEN, sqlite_where=OPEN),
        Index("ix_order_jobs_running", "locked_at", postgresql_where=RUNNING, sqlite_where=RUNNING),
        Index("ix_order_jobs_dead", "id", postgresql_where=DEAD, sqlite_where=DEAD),
    )

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(String(16), default="PENDING")
    priority: Mapped[int] = mapped_column(default=10)
    payload_json: Mapped[str] = mapped_column(Text, default="{}")
    run_after: Mapped[datetime | None] = mapped_column(UTCDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    attempts: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=5)
    locked_by: Mapped[str | None] = mapped_column(String(64))
    locked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["OrderJob"]
