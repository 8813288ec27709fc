"""The canonical forms of the kinds of time.

An instant is kept in UTC. SQLite's text may name an offset, after a blank as Sequelize writes it. Text
without an offset is UTC, as SQLAlchemy and Django store it. An interval is a number of microseconds. SQLite
holds the number itself, as Django does, or the moment that lies so far from 1970, as SQLAlchemy does. Months
and years have no length and no form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any

from app.db.rows.canonical.shown import refusal

_CLOCK = r"\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?"
_TIMESTAMP = re.compile(rf"\d{{4}}-\d\d-\d\d[ T]{_CLOCK}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(_CLOCK, re.ASCII)
_OFFSET = re.compile(r" ?(Z|[+-]\d\d(?::?\d\d)?)$", re.ASCII)
_MICROSECONDS = re.compile(r"(-?\d{1,19}) microseconds", re.ASCII)
EPOCH = datetime(1970, 1, 1)
_ONE = timedelta(microseconds=1)
_LONGEST = 2**63 - 1


def timestamp(value: Any) -> str:
    """A time without a zone, with six digits of a second."""
    if type(value) is str and _TIMESTAMP.fullmatch(value):
        try:
            return datetime.fromisoformat(value).isoformat(" ", "microseconds")
        except ValueError:
            pass
    raise refusal("a timestamp", value)


def instant(value: Any) -> str:
    """A moment in UTC, with six digits of a second and the offset `+00`."""
    if type(value) is not str:
        raise refusal("an instant", value)
    offset = _OFFSET.search(value, 11)
    local = value[: offset.start()] if offset else value
    if _TIMESTAMP.fullmatch(local):
        try:
            moment = datetime.fromisoformat(local)
            if offset and offset[1] not in ("Z", "+00", "+00:00"):
                moment = moment.replace(tzinfo=zone_of(offset[0])).astimezone(UTC).replace(tzinfo=None)
            return moment.isoformat(" ", "microseconds") + "+00"
        except (ValueError, OverflowError):
            pass
    raise refusal("an instant", value)


@lru_cache
def zone_of(offset: str) -> tzinfo:
    """The zone of an offset as an instant's text may name it: ` +05:30`, `-0330`, `+05`, `Z`.

    Raises:
        ValueError: it is none.
    """
    found = _OFFSET.fullmatch(offset)
    if found is None:
        raise ValueError(f"no offset: {offset!r}")
    sign, digits = found[1][0], found[1][1:].replace(":", "").ljust(4, "0")
    # As every version of Python reads it: +hh:mm.
    whole = "+00:00" if sign == "Z" else f"{sign}{digits[:2]}:{digits[2:]}"
    zone = datetime.fromisoformat(f"2000-01-01 00:00:00{whole}").tzinfo
    assert zone is not None  # there is an offset in the text
    return zone


def day(value: Any) -> str:
    """A date."""
    if type(value) is str and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise refusal("a date", value)


def clock(value: Any) -> str:
    """A time of day, with six digits of a second."""
    if type(value) is str and _TIME.fullmatch(value):
        try:
            return time.fromisoformat(value).isoformat("microseconds")
        except ValueError:
            pass
    raise refusal("a time", value)


def interval(value: Any) -> str:
    """A length of time, as so many microseconds."""
    if type(value) is int and abs(value) <= _LONGEST:
        return f"{value} microseconds"
    if type(value) is str:
        if counted := _MICROSECONDS.fullmatch(value):
            return f"{int(counted[1])} microseconds"
        if _TIMESTAMP.fullmatch(value):
            try:
                return f"{(datetime.fromisoformat(value) - EPOCH) // _ONE} microseconds"
            except ValueError:
                pass
    raise refusal("an interval", value)


def microseconds(canonical: str) -> int:
    """The number in an interval's canonical form.

    Raises:
        ValueError: it is not one.
    """
    found = _MICROSECONDS.fullmatch(canonical)
    if found is None:
        raise ValueError(canonical)
    return int(found[1])


COUNTS = {"seconds": 1_000_000, "millis": 1_000}  # microseconds in one


def since_epoch(unit: str) -> Callable[[str], int | float]:
    """What turns a timestamp or an instant into a number of such units since 1970.

    Part of a unit makes a float.
    """
    length = COUNTS[unit]

    def number(value: str) -> int | float:
        micros = (datetime.fromisoformat(value.removesuffix("+00")) - EPOCH) // _ONE
        return micros / length if micros % length else micros // length

    return number
