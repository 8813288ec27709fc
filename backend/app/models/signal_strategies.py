"""Signal strategies and their immutable versions."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id, Touched


class SignalStrategy(Base):
    """A named strategy that yields signals; its content is in its versions."""

    __tablename__ = "signal_strategies"
    __table_args__ = (
        UniqueConstraint("scope", "owner_id", "name", name="ux_signal_strategies_name"),
        CheckConstraint("scope IN ('USER', 'GLOBAL')", name="ck_signal_strategies_scope"),
        Index("ix_signal_strategies_owner_updated", "owner_id", "updated_at"),
        Index("ix_signal_strategies_scope_updated", "scope", "updated_at"),
    )

    id: Mapped[Id]
    scope: Mapped[str] = mapped_column(String(16), default="USER")
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    tags_json: Mapped[str] = mapped_column(Text, default="[]")
    regimes_json: Mapped[str] = mapped_column(Text, default="[]")
    latest_version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class SignalStrategyVersion(Base):
    """One version of a signal strategy; never changed after it was made."""

    __tablename__ = "signal_strategy_versions"
    __table_args__ = (
        UniqueConstraint("strategy_id", "version", name="ux_signal_strategy_versions_strategy_version"),
        Index("ix_signal_strategy_versions_strategy", "strategy_id", "version"),
    )

    id: Mapped[Id]
    strategy_id: Mapped[int] = mapped_column(ForeignKey("signal_strategies.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(default=1)
    inputs_json: Mapped[str] = mapped_column(Text, default="[]")
    variables_json: Mapped[str] = mapped_column(Text, default="[]")
    outputs_json: Mapped[str] = mapped_column(Text, default="[]")
    compatibility_json: Mapped[str] = mapped_column(Text, default="{}")
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]


__all__ = ["SignalStrategy", "SignalStrategyVersion"]
