"""Spreadsheet imports into a group, with the values read per symbol."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base
from app.models.columns import Created, Id, Touched


class GroupImport(Base):
    """One import of a file into a group."""

    __tablename__ = "group_imports"
    __table_args__ = (
        UniqueConstraint("group_id", name="ux_group_imports_group_id"),
        Index("ix_group_imports_created_at", "created_at"),
        Index("ix_group_imports_group_id", "group_id"),
    )

    id: Mapped[Id]
    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"))
    source: Mapped[str] = mapped_column(String(32), default="TRADINGVIEW")
    original_filename: Mapped[str | None] = mapped_column(String(255))
    file_hash: Mapped[str | None] = mapped_column(String(64))
    schema_json: Mapped[str] = mapped_column(Text, default="[]")
    symbol_mapping_json: Mapped[str] = mapped_column(Text, default="{}")
    created_at: Mapped[Created]
    updated_at: Mapped[Touched]

    values: Mapped[list[GroupImportValue]] = relationship(
        back_populates="import_record", cascade="all, delete-orphan", order_by="GroupImportValue.id"
    )


class GroupImportValue(Base):
    """The values read for one symbol of an import."""

    __tablename__ = "group_import_values"
    __table_args__ = (
        UniqueConstraint(
            "import_id", "symbol", "exchange", name="ux_group_import_values_import_symbol_exchange"
        ),
        Index("ix_group_import_values_import_id", "import_id"),
        Index("ix_group_import_values_symbol_exchange", "symbol", "exchange"),
    )

    id: Mapped[Id]
    import_id: Mapped[int] = mapped_column(ForeignKey("group_imports.id", ondelete="CASCADE"))
    symbol: Mapped[str] = mapped_column(String(128))
    exchange: Mapped[str] = mapped_column(String(32), default="NSE")
    values_json: Mapped[str] = mapped_column(Text, default="{}")
    created_at: Mapped[Created]

    import_record: Mapped[GroupImport] = relationship(back_populates="values")


__all__ = ["GroupImport", "GroupImportValue"]
