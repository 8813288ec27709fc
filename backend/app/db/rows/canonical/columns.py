"""A whole column in canonical form: one pass of C-level checks accepts the ordinary column as it is.

Only a column that fails them is looked at value by value.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from app.db.rows.canonical.reals import all_real, real
from app.db.rows.kinds import Kind

_NONE = type(None)
_TIMESTAMPS = re.compile(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{6})?\n)*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def encode_column(kind: Kind, values: Sequence[Any]) -> list[str | None] | None:
    """The canonical texts of a whole column, or None if any value needs a closer look.

    Timestamps come out in either of the two forms that the application writes, with or without microseconds.
    PostgreSQL reads both as the same instant.
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


def _plain_json(types: set[type], values: Sequence[Any]) -> bool:
    """Texts of objects, lists and strings: what begins so is no number on its own."""
    return _plain_text(types, values) and set(map(_first, values)) <= {"{", "[", '"'}


def _first(text: str) -> str:
    return text[:1]


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
    Kind.REAL: lambda types, values: types == {float} and all_real(values),
    Kind.BOOLEAN: _plain_boolean,
    Kind.TEXT: _plain_text,
    Kind.TIMESTAMP: _plain_timestamp,
    Kind.DATE: _plain_date,
    Kind.TIME: None,
    Kind.BLOB: None,
    Kind.NUMERIC: None,
    Kind.UUID: None,
    Kind.INSTANT: _plain_timestamp,
    Kind.INTERVAL: None,
    Kind.JSON: _plain_json,
    Kind.JSONB: None,
    Kind.ADDRESS: None,
}


def _floats(values: Sequence[Any]) -> list[str | None]:
    texts = list(map(repr, values))
    return [text if text != "-0.0" else "0.0" for text in texts] if "-0.0" in texts else list(texts)


# The canonical texts of ordinary values.
_RENDER: dict[Kind, Callable[[Sequence[Any]], list[str | None]]] = {
    Kind.INTEGER: lambda values: list(map(str, values)),
    Kind.FLOAT: _floats,
    Kind.REAL: lambda values: list(map(real, values)),
    Kind.BOOLEAN: lambda values: ["t" if value else "f" for value in values],
    Kind.TEXT: list,
    Kind.TIMESTAMP: list,
    Kind.DATE: list,
    Kind.TIME: list,
    Kind.BLOB: list,
    Kind.NUMERIC: list,
    Kind.UUID: list,
    Kind.INSTANT: lambda values: [f"{value}+00" for value in values],
    Kind.INTERVAL: list,
    Kind.JSON: list,
    Kind.JSONB: list,
    Kind.ADDRESS: list,
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
