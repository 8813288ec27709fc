"""Goals set on holdings, the reviews of a goal, and saved import mappings."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Float, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id, Touched


class HoldingGoal(Base):
    """What the owner expects of a holding, with a date to look at it again."""

    __tablename__ = "holding_goals"
    __table_args__ = (
        UniqueConstraint("user_id", "broker_name", "symbol", "exchange", name="ux_holding_goals_scope"),
        Index("ix_holding_goals_user_broker", "user_id", "broker_name"),
    )

    id: Mapped[Id]
    user_id: Mapped[int]
    broker_name: Mapped[str] = mapped_column(String(32))
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str] = mapped_column(String(16))
    label: Mapped[str] = mapped_column(String(24))
    review_date: Mapped[date]
    target_type: Mapped[str | None] = mapped_column(String(24))
    target_value: Mapped[float | None] = mapped_column(Float)
    note: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class HoldingGoalImportPreset(Base):
    """A saved column mapping for importing goals."""

    __tablename__ = "holding_goal_import_presets"
    __table_args__ = (
        UniqueConstraint("user_id", "name", name="ux_holding_goal_import_presets"),
        Index("ix_holding_goal_import_presets_user", "user_id"),
    )

    id: Mapped[Id]
    user_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(64))
    mapping_json: Mapped[str] = mapped_column(String(2000))
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class HoldingGoalReview(Base):
    """One review of a goal: what was decided and the new review date."""

    __tablename__ = "holding_goal_reviews"
    __table_args__ = (
        Index("ix_holding_goal_reviews_goal", "goal_id"),
        Index("ix_holding_goal_reviews_user", "user_id"),
    )

    id: Mapped[Id]
    goal_id: Mapped[int] = mapped_column(ForeignKey("holding_goals.id", ondelete="CASCADE"))
    user_id: Mapped[int]
    broker_name: Mapped[str] = mapped_column(String(32))
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(16))
    previous_review_date: Mapped[date]
    new_review_date: Mapped[date]
    note: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[Created]


__all__ = ["HoldingGoal", "HoldingGoalImportPreset", "HoldingGoalReview"]
