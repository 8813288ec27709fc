"""What is stored per broker account: connections and encrypted secrets."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id, Touched


class BrokerConnection(Base):
    """The encrypted session of one user with one broker."""

    __tablename__ = "broker_connections"
    __table_args__ = (UniqueConstraint("user_id", "broker_name", name="ux_broker_connections_user_broker"),)

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    broker_name: Mapped[str] = mapped_column(String(32))
    broker_user_id: Mapped[str | None] = mapped_column(String(64))
    access_token_encrypted: Mapped[str] = mapped_column(String(512))
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


class BrokerSecret(Base):
    """One encrypted setting of a broker; without a user it is global."""

    __tablename__ = "broker_secrets"
    __table_args__ = (
        UniqueConstraint("user_id", "broker_name", "key", name="ux_broker_secrets_user_broker_key"),
    )

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    broker_name: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(64))
    value_encrypted: Mapped[str] = mapped_column(String(1024))
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["BrokerConnection", "BrokerSecret"]
