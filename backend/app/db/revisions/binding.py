"""How values reach PostgreSQL, where SQLite's driver treats them in a way that the application relies on."""

from __future__ import annotations

import math
from datetime import datetime

from sqlalchemy import DateTime, Float
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class WallClock(TypeDecorator[datetime]):
    """A time without a zone: an offset is dropped, as on SQLite, and not converted by the session's zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None or value.tzinfo is None else value.replace(tzinfo=None)


class NumberOrNull(TypeDecorator[float]):
    """A double as SQLite keeps it: NULL for what is not a number, so that NOT NULL catches it, and plain zero."""

    impl = Float
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else value + 0.0
