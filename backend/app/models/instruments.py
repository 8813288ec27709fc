"""A security, its listings on exchanges, and what each broker calls a listing."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id, Touched


class Security(Base):
    """A security by its ISIN."""

    __tablename__ = "securities"
    __table_args__ = (
        UniqueConstraint("isin", name="ux_securities_isin"),
        Index("ix_securities_isin", "isin"),
    )

    id: Mapped[Id]
    isin: Mapped[str | None] = mapped_column(String(32))
    name: Mapped[str | None] = mapped_column(String(255))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class Listing(Base):
    """A security as listed on one exchange."""

    __tablename__ = "listings"
    __table_args__ = (
        UniqueConstraint("exchange", "symbol", name="ux_listings_exchange_symbol"),
        Index("ix_listings_exchange_symbol", "exchange", "symbol"),
        Index("ix_listings_security_exchange", "security_id", "exchange"),
    )

    id: Mapped[Id]
    security_id: Mapped[int | None] = mapped_column(ForeignKey("securities.id", ondelete="SET NULL"))
    exchange: Mapped[str] = mapped_column(String(32))
    symbol: Mapped[str] = mapped_column(String(128))
    name: Mapped[str | None] = mapped_column(String(255))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class BrokerInstrument(Base):
    """The name and token under which a broker knows a listing."""

    __tablename__ = "broker_instruments"
    __table_args__ = (
        UniqueConstraint("broker_name", "instrument_token", name="ux_broker_instruments_broker_token"),
        Index("ix_broker_instruments_broker_exchange_symbol", "broker_name", "exchange", "broker_symbol"),
        Index("ix_broker_instruments_broker_listing", "broker_name", "listing_id"),
    )

    id: Mapped[Id]
    listing_id: Mapped[int] = mapped_column(ForeignKey("listings.id", ondelete="CASCADE"))
    broker_name: Mapped[str] = mapped_column(String(32))
    exchange: Mapped[str] = mapped_column(String(32))
    broker_symbol: Mapped[str] = mapped_column(String(128))
    instrument_token: Mapped[str] = mapped_column(String(64))
    isin: Mapped[str | None] = mapped_column(String(32))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["BrokerInstrument", "Listing", "Security"]
