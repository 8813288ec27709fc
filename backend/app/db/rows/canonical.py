"""The one canonical form of every value, by column kind; copy, apply and verify all go through it.

SQLite checks no types, so a column may hold anything. Each kind says which stored values mean the same
on PostgreSQL and what their text form there is; every other value is refused with a reason
(`UnsupportedValue`), never approximated. Work is done a column at a time: one pass of C-level checks
accepts the ordinary column whole, and only a column that fails them is looked at value by value.

Two values are equal when their canonical forms are: -0.0 is 0.0 (a SQLite REAL column cannot hold the
former), `10:00:00` is `10:00:00.000000`, `true` is 1. Nothing else is forgiven.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.db.common.errors import UnsupportedValue
from app.db.rows.kinds import Kind

_NONE = type(None)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
_TIMESTAMPS = re.compile(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{6})?\n)*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
_UUID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INT64 = range(-(2**63), 2**63)


def describe(value: object) -> str:
    """A value as it is shown to the operator: its storage class and the start of its text."""
    kind = {int: "integer", float: "real", str: "text", bytes: "blob"}.get(type(value), type(value).__name__)
    text = repr(value)
    return f"{kind} {text if len(text) <= 60 else text[:57] + '...'}"


def storage(value: Any) -> Any:
    """A value in JSON such that its storage class and exact bytes can be read back.

    Integers, floats and None stay themselves; text becomes {"text": ...} or, where it is not valid
    UTF-8 or holds a NUL, {"text_hex": ...}; a blob becomes {"blob_hex": ...}.
    """
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            return {"text_hex": raw.hex()}
        return {"text_hex": raw.hex()} if "\x00" in value else {"text": value}
    if isinstance(value, bytes):
        return {"blob_hex": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"real": repr(value)}
    return value


def _refuse(wanted: str, value: object) -> ValueError:
    return ValueError(f"{describe(value)} in {wanted} column")


def _integer(value: Any) -> str:
    if type(value) is int and value in _INT64:
        return str(value)
    raise _refuse("an integer", value)


def _float(value: Any) -> str:
    if type(value) is float and value == value:
        return repr(value + 0.0)
    if type(value) is int and abs(value) <= 2**53:
        return repr(float(value))
    raise _refuse("a float", value)


def _boolean(value: Any) -> str:
    if type(value) in (int, bool) and value in (0, 1):
        return "t" if value else "f"
    raise _refuse("a boolean", value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _refuse("a text", value)
    if "\x00" in value:
        raise ValueError("text with a NUL character, which PostgreSQL cannot store")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("text that is not valid UTF-8") from None
    return value


def _timestamp(value: Any) -> str:
    if type(value) is str and _TIMESTAMP.fullmatch(value):
        try:
            return datetime.fromisoformat(value).isoformat(" ", "microseconds")
        except ValueError:
            pass
    raise _refuse("a timestamp", value)


def _date(value: Any) -> str:
    if type(value) is str and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise _refuse("a date", value)


def _time(value: Any) -> str:
    if type(value) is str and _TIME.fullmatch(value):
        try:
            return time.fromisoformat(value).isoformat("microseconds")
        except ValueError:
            pass
    raise _refuse("a time", value)


def _blob(value: Any) -> str:
    if type(value) is bytes:
        return "\\x" + value.hex()
    raise _refuse("a binary", value)


def _numeric(value: Any) -> str:
    if type(value) in (int, float):
        number = Decimal(repr(value))
    elif type(value) is str and re.fullmatch(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", value):
        number = Decimal(value)
    else:
        raise _refuse("a numeric", value)
    if not number.is_finite():
        raise _refuse("a numeric", value)
    text = format(number, "f")  # not normalize(), which rounds to 28 digits
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _uuid(value: Any) -> str:
    if type(value) is str and _UUID.fullmatch(value):
        return str(UUID(value))
    raise _refuse("a uuid", value)


_ONE: dict[Kind, Callable[[Any], str]] = {
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.BOOLEAN: _boolean,
    Kind.TEXT: _text,
    Kind.TIMESTAMP: _timestamp,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.BLOB: _blob,
    Kind.NUMERIC: _numeric,
    Kind.UUID: _uuid,
}


def encode(kind: Kind, value: Any, column: str = "") -> str | None:
    """The canonical text of one value as SQLite stores it; None for NULL.

    Raises:
        UnsupportedValue: PostgreSQL could hold it only by changing it.
    """
    if value is None:
        return None
    try:
        return _ONE[kind](value)
    except ValueError as error:
        raise UnsupportedValue(column, str(error)) from None


def encode_column(kind: Kind, values: Sequence[Any]) -> list[str | None] | None:
    """The canonical texts of a whole column, or None if any value needs a closer look.

    Timestamps come out in either of the two forms the application writes, with or without
    microseconds; PostgreSQL reads both as the same instant.
    """
    types = set(map(type, values))
    nullable = _NONE in types
    types.discard(_NONE)
    if not types:
        return list(values)
    present: Sequence[Any] = [value for value in values if value is not None] if nullable else values
    if not is_plain(kind, types, present):
        return None
    texts = _RENDER[kind](present)
    if not nullable:
        return texts
    following = iter(texts)
    return [None if value is None else next(following) for value in values]


def is_plain(kind: Kind, types: set[type], values: Sequence[Any]) -> bool:
    """Whether all values of a column are in the ordinary form of their kind; no loop in Python.

    Args:
        types: the types of the values.
        values: as SQLite stores them, without NULLs.
    """
    check = _PLAIN[kind]
    return check is not None and check(types, values)


def _plain_boolean(types: set[type], values: Sequence[Any]) -> bool:
    return types == {int} and set(values) <= {0, 1}


def _plain_text(types: set[type], values: Sequence[Any]) -> bool:
    return types == {str} and "\x00".join(values).count("\x00") == len(values) - 1 and _encodable(values)


def _plain_timestamp(types: set[type], values: Sequence[Any]) -> bool:
    return (
        types == {str}
        and _TIMESTAMPS.fullmatch("\n".join(values) + "\n") is not None
        and _known(datetime.fromisoformat, values)
    )


def _plain_date(types: set[type], values: Sequence[Any]) -> bool:
    return (
        types == {str}
        and set(map(len, values)) == {10}
        and all(map(_DATE.fullmatch, values))
        and _known(date.fromisoformat, values)
    )


# Whether all values of a column are in the ordinary form; None: each value is looked at.
_PLAIN: dict[Kind, Callable[[set[type], Sequence[Any]], bool] | None] = {
    Kind.INTEGER: lambda types, values: types == {int},
    Kind.FLOAT: lambda types, values: types == {float},
    Kind.BOOLEAN: _plain_boolean,
    Kind.TEXT: _plain_text,
    Kind.TIMESTAMP: _plain_timestamp,
    Kind.DATE: _plain_date,
    Kind.TIME: None,
    Kind.BLOB: None,
    Kind.NUMERIC: None,
    Kind.UUID: None,
}


def _floats(values: Sequence[Any]) -> list[str | None]:
    texts = list(map(repr, values))
    return [text if text != "-0.0" else "0.0" for text in texts] if "-0.0" in texts else list(texts)


# The canonical texts of ordinary values.
_RENDER: dict[Kind, Callable[[Sequence[Any]], list[str | None]]] = {
    Kind.INTEGER: lambda values: list(map(str, values)),
    Kind.FLOAT: _floats,
    Kind.BOOLEAN: lambda values: ["t" if value else "f" for value in values],
    Kind.TEXT: list,
    Kind.TIMESTAMP: list,
    Kind.DATE: list,
    Kind.TIME: list,
    Kind.BLOB: list,
    Kind.NUMERIC: list,
    Kind.UUID: list,
}


def _encodable(values: Sequence[str]) -> bool:
    try:
        "".join(values).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _known(parse: Callable[[str], object], values: Sequence[str]) -> bool:
    """Whether the calendar knows them all."""
    try:
        deque(map(parse, values), maxlen=0)
    except ValueError:
        return False
    return True


def to_sqlite(kind: Kind, value: Any) -> Any:
    """A value read from PostgreSQL in the form in which the application stores it on SQLite.

    `value` is what the PostgreSQL store's select list yields: timestamps, dates, times, numerics and
    uuids as text, the rest as Python's own types.
    """
    change = _TO_SQLITE[kind]
    return value if value is None or change is None else change(value)


def to_sqlite_column(kind: Kind, values: Sequence[Any]) -> Sequence[Any]:
    """`to_sqlite` for all values of a column; those that need no change are not looked at."""
    change = _TO_SQLITE[kind]
    if change is None:
        return values
    if kind is Kind.FLOAT and None not in values:
        return [value + 0.0 for value in values]
    return [None if value is None else change(value) for value in values]


def _stamp(value: str) -> str:
    return value if "." in value and len(value) == 26 else _padded(value)


def _padded(value: str) -> str:
    whole, _, fraction = value.partition(".")
    return f"{whole}.{fraction:0<6}"


# From PostgreSQL's form to SQLite's; None: they are the same.
_TO_SQLITE: dict[Kind, Callable[[Any], Any] | None] = {
    Kind.INTEGER: None,
    Kind.FLOAT: lambda value: value + 0.0,
    Kind.BOOLEAN: int,
    Kind.TEXT: None,
    Kind.TIMESTAMP: _stamp,
    Kind.DATE: None,
    Kind.TIME: _padded,
    Kind.BLOB: None,
    Kind.NUMERIC: None,
    Kind.UUID: lambda value: str(value).replace("-", ""),
}
