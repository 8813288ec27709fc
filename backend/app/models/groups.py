"""Groups of symbols (watch lists, baskets, portfolios) and their members."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base
from app.db.types import UTCDateTime
from app.models.columns import Created, Id, Touched


class Group(Base):
    """A named set of symbols with weights."""

    __tablename__ = "groups"
    __table_args__ = (
        UniqueConstraint("owner_id", "name", name="ux_groups_owner_name"),
        CheckConstraint(
            "kind IN ('WATCHLIST', 'MODEL_PORTFOLIO', 'HOLDINGS_VIEW', 'PORTFOLIO')", name="ck_groups_kind"
        ),
        Index("ix_groups_kind", "kind"),
        Index("ix_groups_owner_id", "owner_id"),
    )

    id: Mapped[Id]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(32), default="WATCHLIST")
    description: Mapped[str | None] = mapped_column(Text)
    funds: Mapped[float | None] = mapped_column(Float)
    allocation_mode: Mapped[str | None] = mapped_column(String(32))
    frozen_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    origin_basket_id: Mapped[int | None]
    bought_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    members: Mapped[list[GroupMember]] = relationship(
        back_populates="group", cascade="all, delete-orphan", order_by="GroupMember.created_at"
    )


class GroupMember(Base):
    """One symbol of a group."""

    __tablename__ = "group_members"
    __table_args__ = (
        UniqueConstraint("group_id", "symbol", "exchange", name="ux_group_members_group_symbol_exchange"),
        Index("ix_group_members_group_id", "group_id"),
        Index("ix_group_members_symbol_exchange", "symbol", "exchange"),
    )

    id: Mapped[Id]
    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"))
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str | None] = mapped_column(String(32))
    target_weight: Mapped[float | None] = mapped_column(Float)
    notes: Mapped[str | None] = mapped_column(Text)
    reference_qty: Mapped[int | None]
    reference_price: Mapped[float | None] = mapped_column(Float)
    frozen_price: Mapped[float | None] = mapped_column(Float)
    weight_locked: Mapped[bool] = mapped_column(default=False)
    allocation_amount: Mapped[float | None] = mapped_column(Float)
    allocation_qty: Mapped[int | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    group: Mapped[Group] = relationship(back_populates="members")


__all__ = ["Group", "GroupMember"]
