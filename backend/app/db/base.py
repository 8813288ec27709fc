"""The declarative base that every model shares; its metadata is the whole schema."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase

from app.db.common.settings import IN_APPLICATION
from app.db.revisions.ddl import widen_created_tables


class Base(DeclarativeBase):
    """Base class of all models."""


if IN_APPLICATION:  # beside an application that owns its tables, nothing of them is changed
    widen_created_tables(Base.metadata)
