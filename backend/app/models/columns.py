"""Columns that most tables share, as annotations: the key, and the times the ORM sets itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from sqlalchemy.orm import mapped_column

from app.db.types import UTCDateTime


def utc_now() -> datetime:
    """The current instant as aware UTC."""
    return datetime.now(UTC)


Id = Annotated[int, mapped_column(primary_key=True)]
Created = Annotated[datetime, mapped_column(UTCDateTime, default=utc_now)]
Touched = Annotated[datetime, mapped_column(UTCDateTime, default=utc_now, onupdate=utc_now)]
