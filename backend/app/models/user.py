"""People who may log in."""

from __future__ import annotations

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.models.columns import Created, Id, Touched


class User(Base):
    """A user; names are unique byte for byte, so case matters."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("username", name="ux_users_username"),)

    id: Mapped[Id]
    username: Mapped[str] = mapped_column(String(64))
    password_hash: Mapped[str] = mapped_column(String(256))
    role: Mapped[str] = mapped_column(String(16), default="TRADER")
    display_name: Mapped[str | None] = mapped_column(String(128))
    email: Mapped[str | None] = mapped_column(String(255))
    theme_id: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]


__all__ = ["User"]
