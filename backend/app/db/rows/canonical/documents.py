"""The canonical forms of JSON.

A `json` column keeps its text byte for byte, and so does SQLite: the text itself is the form. Only a number on
its own is not safe on SQLite, where a column declared JSON turns `1.50` into 1.5. Numbers alone are therefore
compared by their value, except in a column that keeps every text (`Column.keeps_documents`).

A `jsonb` column keeps the meaning. Its form is the parsed document, written without blanks, with sorted names
and every digit of its numbers. Of a name that occurs twice the last value counts, as on PostgreSQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from app.db.rows.canonical.shown import refusal
from app.db.rows.canonical.text import numeric, text

_NUMBER = re.compile(r"[ \t\r\n]*(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)[ \t\r\n]*", re.ASCII)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # not behind a backslash that stands for itself
_MOST_DIGITS = 16_383  # after the point, on PostgreSQL; before it there may be more


def kept(value: Any) -> str:
    """The form of a json column's value: a text as it is, a number by its value."""
    if type(value) in (int, float):
        return numeric(value)
    found = text(value, "a json")
    if not found.strip(" \t\r\n"):
        raise refusal("a json", value)
    return numeric(number[1]) if (number := _NUMBER.fullmatch(found)) else found


def parsed(value: Any) -> str:
    """The form of a jsonb column's value: what the document means."""
    if type(value) in (int, float):
        return numeric(value)
    found = text(value, "a jsonb")
    try:
        document = json.loads(found, parse_float=_exact, parse_int=_exact, parse_constant=_no_constant)
        written = text("".join(_written(document)))
        if "u0000" in written and _NUL.search(written):
            raise ValueError("a NUL, which no text of PostgreSQL holds")
        return written
    except (ValueError, RecursionError):
        raise refusal("a jsonb", value) from None


def is_document(found: str) -> bool:
    """Whether a json column takes a text: it looks at the syntax only, whatever numbers and escapes stand there."""
    try:
        json.loads(found, parse_float=str, parse_int=str, parse_constant=_no_constant)
    except RecursionError:
        return True  # nested deeper than can be told here
    except ValueError:
        return False
    return True


def _exact(digits: str) -> Decimal:
    number = Decimal(digits)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > _MOST_DIGITS or number.adjusted() > 131_071:
        raise ValueError("more digits than PostgreSQL keeps")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _written(value: Any) -> Iterator[str]:
    match value:
        case dict():
            yield "{"
            for n, name in enumerate(sorted(value)):
                yield f"{',' if n else ''}{json.dumps(name, ensure_ascii=False)}:"
                yield from _written(value[name])
            yield "}"
        case list():
            yield "["
            for n, item in enumerate(value):
                yield "," if n else ""
                yield from _written(item)
            yield "]"
        case Decimal():
            yield numeric(format(value, "f"))
        case _:
            yield json.dumps(value, ensure_ascii=False)


_PARTS = re.compile(r'"(?:[^"\\]|\\.)*"|[,:]\s*|[^",:]+')
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def respaced(document: str, *, compact: bool, ascii_only: bool) -> str:
    """A document with the blanks and escapes that an application writes, its order and numbers untouched."""
    after = {",": "," if compact else ", ", ":": ":" if compact else ": "}
    parts = (after.get(part[0], part) for part in _PARTS.findall(document))
    spaced = "".join(parts)
    return _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], spaced) if ascii_only else spaced
