"""Clocks and zones: instants are UTC, market wall time is IST (UTC+05:30, no daylight saving)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

IST_OFFSET: Final = timedelta(hours=5, minutes=30)


def utc_now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)


def to_utc(dt: datetime, *, assume_ist_if_naive: bool = True) -> datetime:
    """Any datetime as aware UTC; a naive one is IST wall time unless `assume_ist_if_naive` is False.

    Raises OverflowError at the edges of the calendar.
    """
    if dt.tzinfo is not None:
        return dt.astimezone(UTC)
    return (dt - IST_OFFSET if assume_ist_if_naive else dt).replace(tzinfo=UTC)


def ist_naive_to_utc(dt_ist: datetime) -> datetime:
    """Naive IST wall time as aware UTC; aware input is converted."""
    return to_utc(dt_ist)


def to_utc_or_none(dt: datetime | None, *, assume_ist_if_naive: bool = True) -> datetime | None:
    """`to_utc` that lets None through."""
    return None if dt is None else to_utc(dt, assume_ist_if_naive=assume_ist_if_naive)


def to_ist_naive(dt: datetime) -> datetime:
    """IST wall time of an aware datetime; a naive one is taken to be IST already."""
    return dt if dt.tzinfo is None else (dt.astimezone(UTC) + IST_OFFSET).replace(tzinfo=None)
