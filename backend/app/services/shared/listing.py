"""Rules that the list calls share."""

from __future__ import annotations

from sqlalchemy import ColumnElement, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from app.models import User


def visible_to(column: InstrumentedAttribute[int | None], user: User | None) -> ColumnElement[bool]:
    """Rows of the user and rows without one; everything when nobody is logged in."""
    return true() if user is None else or_(column == user.id, column.is_(None))
