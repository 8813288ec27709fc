"""How values of each kind and type are packed in COPY's binary format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, time
from typing import Any
from uuid import UUID

from app.db.rows.kinds import Kind

_NEW_YEAR_2000 = date(2000, 1, 1).toordinal()
_DAY = 86_400_000_000
_JSONB_VERSION = b"\x01"

# Column type on PostgreSQL to struct code; None: of variable width.
WIDTHS: dict[str, str | None] = {
    "smallint": "h",
    "integer": "i",
    "bigint": "q",
    "double precision": "d",
    "real": "f",
    "boolean": "b",
    "text": None,
    "character varying": None,
    "bpchar": None,
    "citext": None,
    "timestamp without time zone": "q",
    "date": "i",
    "time without time zone": "q",
    "bytea": None,
    "uuid": None,
    "timestamp with time zone": "q",
    "json": None,
    "jsonb": None,
}


class _Days(dict[str, int]):
    """Microseconds from 2000 to the beginning of a day, by its ISO text."""

    def __missing__(self, text: str) -> int:
        value = self[text] = (date.fromisoformat(text).toordinal() - _NEW_YEAR_2000) * _DAY
        return value


class _Clock(dict[str, int]):
    """Microseconds from midnight to a full second, by its ISO text."""

    def __missing__(self, text: str) -> int:
        at = time.fromisoformat(text)
        value = self[text] = ((at.hour * 60 + at.minute) * 60 + at.second) * 1_000_000
        return value


_days, _clock = _Days(), _Clock()


def timestamps(values: Iterable[str]) -> list[int]:
    return [_days[v[:10]] + _clock[v[11:19]] + int(v[20:] or 0) for v in values]


def _times(values: Iterable[str]) -> list[int]:
    return [_clock[v[:8]] + int(v[9:] or 0) for v in values]


def _dates(values: Iterable[str]) -> list[int]:
    return [_days[v] // _DAY for v in values]


def _same(values: Iterable[Any]) -> Iterable[Any]:
    return values


def encoded(values: Iterable[str]) -> Iterable[bytes]:
    return map(str.encode, values)


Numbers = Callable[[Iterable[Any]], Iterable[Any]]
# From values as SQLite holds them, and from their canonical texts, to what is packed.
# None: a column of the kind is never ordinary as a whole, or has no binary form.
PLAIN: dict[Kind, Numbers | None] = {
    Kind.INTEGER: _same,
    Kind.FLOAT: _same,
    Kind.REAL: lambda values: [value + 0.0 for value in values],
    Kind.BOOLEAN: _same,
    Kind.TEXT: encoded,
    Kind.TIMESTAMP: timestamps,
    Kind.DATE: _dates,
    Kind.TIME: None,
    Kind.BLOB: None,
    Kind.NUMERIC: None,
    Kind.UUID: None,
    Kind.INSTANT: timestamps,
    Kind.INTERVAL: None,
    Kind.JSON: encoded,
    Kind.JSONB: None,
    Kind.ADDRESS: None,
}
CANONICAL: dict[Kind, Numbers | None] = {
    Kind.INTEGER: lambda texts: map(int, texts),
    Kind.FLOAT: lambda texts: map(float, texts),
    Kind.REAL: lambda texts: map(float, texts),
    Kind.BOOLEAN: lambda texts: [text == "t" for text in texts],
    Kind.TEXT: encoded,
    Kind.TIMESTAMP: timestamps,
    Kind.DATE: _dates,
    Kind.TIME: _times,
    Kind.BLOB: lambda texts: [bytes.fromhex(text[2:]) for text in texts],
    Kind.NUMERIC: None,
    Kind.UUID: lambda texts: [UUID(text).bytes for text in texts],
    Kind.INSTANT: lambda texts: timestamps(text.removesuffix("+00") for text in texts),
    Kind.INTERVAL: None,
    Kind.JSON: encoded,
    Kind.JSONB: lambda texts: [_JSONB_VERSION + text.encode() for text in texts],
    Kind.ADDRESS: None,
}
