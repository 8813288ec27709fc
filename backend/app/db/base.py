"""The declarative base that every model shares; its metadata is the whole schema."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Base class of all models."""
