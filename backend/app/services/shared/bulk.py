"""Bulk statements that go past the session's objects."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.orm import Session


def changed_rows(db: Session, statement: Update | Delete) -> int:
    """Execute a bulk update or delete and return how many rows it hit; loaded objects are not refreshed."""
    options = {"synchronize_session": False}
    return cast("CursorResult[Any]", db.execute(statement, execution_options=options)).rowcount
