"""One value of each kind in its canonical form."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from app.db.common.errors import UnsupportedValue
from app.db.rows.canonical import documents, reals, text, times
from app.db.rows.canonical.shown import refusal
from app.db.rows.kinds import Kind

_HYPHENS = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_UUID = re.compile(rf"[0-9a-fA-F]{{32}}|{_HYPHENS}|\{{{_HYPHENS}\}}")
_INT64 = range(-(2**63), 2**63)


def _integer(value: Any) -> str:
    if type(value) is int and value in _INT64:
        return str(value)
    raise refusal("an integer", value)


def _float(value: Any) -> str:
    if type(value) is float and value == value:
        return repr(value + 0.0)
    if type(value) is int and abs(value) <= 2**53:
        return repr(float(value))
    raise refusal("a float", value)


def _boolean(value: Any) -> str:
    if type(value) in (int, bool) and value in (0, 1):
        return "t" if value else "f"
    raise refusal("a boolean", value)


def _blob(value: Any) -> str:
    if type(value) is bytes:
        return "\\x" + value.hex()
    raise refusal("a binary", value)


def _uuid(value: Any) -> str:
    if type(value) is str and _UUID.fullmatch(value):
        return str(UUID(value))
    if type(value) is bytes and len(value) == 16:
        return str(UUID(bytes=value))
    raise refusal("a uuid", value)


_ONE: dict[Kind, Callable[[Any], str]] = {
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.REAL: reals.real,
    Kind.BOOLEAN: _boolean,
    Kind.TEXT: text.text,
    Kind.TIMESTAMP: times.timestamp,
    Kind.DATE: times.day,
    Kind.TIME: times.clock,
    Kind.BLOB: _blob,
    Kind.NUMERIC: text.numeric,
    Kind.UUID: _uuid,
    Kind.INSTANT: times.instant,
    Kind.INTERVAL: times.interval,
    Kind.JSON: documents.kept,
    Kind.JSONB: documents.parsed,
    Kind.ADDRESS: text.address,
}


def encode(kind: Kind, value: Any, column: str = "") -> str | None:
    """The canonical text of one value as SQLite stores it. None for NULL.

    Raises:
        UnsupportedValue: PostgreSQL could hold it only by changing it.
    """
    if value is None:
        return None
    try:
        return _ONE[kind](value)
    except ValueError as error:
        raise UnsupportedValue(column, str(error)) from None
