"""How an application spells its values on SQLite, column by column, and PostgreSQL's values in that spelling.

One uuid may stand there with hyphens or without, one time with microseconds or without. PostgreSQL keeps the
value and forgets the spelling, but on SQLite an equality compares texts. So the spelling of each column is
learnt from the file before PostgreSQL becomes primary, and rows that come back are written in it. A column
that has several spellings is `mixed`: a value that did not change keeps its own there, and new values get the
most frequent one.

What PostgreSQL holds and no canonical form covers (infinity, NaN, years before 1 or beyond 9999) is refused
here, as such values of SQLite are in `canonical`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.db.common.errors import UnsupportedValue
from app.db.rows.canonical import describe, encode
from app.db.rows.kinds import Kind


@dataclass(frozen=True)
class Spelling:
    """One column's spelling.

    `form`: for a uuid `hex`, `hyphens` or `braces`, in capitals for capital letters. For a timestamp the
    separator, then the digits of a second's fraction: `6` always; `3` or `0` where no more are needed; `m`
    without seconds where there are none. For a time the digits alone. `mixed`: other forms occur, too.
    """

    form: str
    mixed: bool = False


# What is written to a column of which nothing was learnt: as SQLAlchemy does. None: there is one form only.
USUAL: dict[Kind, str | None] = {
    Kind.INTEGER: None,
    Kind.FLOAT: None,
    Kind.BOOLEAN: None,
    Kind.TEXT: None,
    Kind.TIMESTAMP: " 6",
    Kind.DATE: None,
    Kind.TIME: "6",
    Kind.BLOB: None,
    Kind.NUMERIC: None,
    Kind.UUID: "hex",
}
UUID_FORMS = ("hex", "hyphens", "braces", "HEX", "HYPHENS", "BRACES")
# Spellings of a key's value by which its row is looked for on SQLite, the value as it was logged included.
LOOKED_FOR = len(UUID_FORMS) + 1

_STAMPS = re.compile(r"(?:(?!0000)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?\n)*")
_DATES = re.compile(r"(?:(?!0000)\d{4}-\d\d-\d\d\n)*")
_TIMES = re.compile(r"(?:(?!24)\d\d:\d\d:\d\d(?:\.\d{1,6})?\n)*")
_NUMBERS = re.compile(r"(?:-?\d+(?:\.\d+)?\n)*")


def usual(kind: Kind, declared: str) -> Spelling | None:
    """The spelling of a column that holds nothing yet, by its declared type on SQLite."""
    if kind is Kind.UUID and "36" in declared:
        return Spelling("hyphens")
    return None


def to_sqlite(kind: Kind, value: Any, spelling: Spelling | None = None, column: str = "") -> Any:
    """A value read from PostgreSQL in the form in which the application stores it on SQLite.

    Args:
        value: what the PostgreSQL store's select list yields: timestamps, dates, times, numerics and uuids
            as text, the rest as Python's own types.

    Raises:
        UnsupportedValue: it has no canonical form.
    """
    if value is None:
        return None
    if not _HAS_FORM[kind]([value]):
        raise UnsupportedValue(column, f"{describe(value)} in a {kind.value} column has no form on SQLite")
    return _spell(kind, spelling)(value)


def to_sqlite_column(
    kind: Kind, values: Sequence[Any], spelling: Spelling | None = None, column: str = ""
) -> Sequence[Any]:
    """`to_sqlite` for all values of a column; those that need no change are not looked at.

    Raises:
        UnsupportedValue: one has no canonical form.
    """
    present = [value for value in values if value is not None]
    if not _HAS_FORM[kind](present):
        return [to_sqlite(kind, value, spelling, column) for value in values]
    if _UNCHANGED[kind]:
        return values
    change = _spell(kind, spelling)
    return [None if value is None else change(value) for value in values]


def looked_for(kind: Kind, value: Any) -> tuple[Any, ...]:
    """The spellings under which a key's value, from either side's log, may stand on SQLite: LOOKED_FOR of them."""
    try:
        canonical = encode(kind, value)
    except UnsupportedValue:
        canonical = None
    if canonical is None:
        return (value,) * LOOKED_FOR
    return (value, *(spell_uuid(canonical, form) for form in UUID_FORMS))


def spell_uuid(canonical: str, form: str) -> str:
    """A canonical uuid in one of UUID_FORMS."""
    text = canonical.replace("-", "") if form.lower() == "hex" else canonical
    text = f"{{{text}}}" if form.lower() == "braces" else text
    return text.upper() if form.isupper() else text


def _spell(kind: Kind, spelling: Spelling | None) -> Callable[[Any], Any]:
    form = spelling.form if spelling else USUAL[kind]
    if kind is Kind.FLOAT:
        return lambda value: value + 0.0
    if kind is Kind.BOOLEAN:
        return int
    if kind is Kind.UUID:
        return lambda value: spell_uuid(str(value), form or "hex")
    if kind is Kind.TIMESTAMP and form is not None:
        separator, digits = form[:-1], form[-1]
        if separator == " ":
            return lambda value: f"{value[:11]}{_clock(value[11:], digits)}"
        return lambda value: f"{value[:10]}{separator}{_clock(value[11:], digits)}"
    if kind is Kind.TIME and form is not None:
        return lambda value: _clock(value, form)
    return lambda value: value


def _clock(value: str, digits: str) -> str:
    """A time as PostgreSQL prints it, its fraction in the form of `Spelling`."""
    whole, _, fraction = value.partition(".")
    if digits == "6" or len(fraction) > 3 or (fraction and digits != "3"):
        return f"{whole}.{fraction:0<6}"
    if digits == "3":
        return f"{whole}.{fraction:0<3}"
    return whole[:5] if digits == "m" and whole.endswith(":00") else whole


def _all_match(pattern: re.Pattern[str]) -> Callable[[Sequence[Any]], bool]:
    return lambda values: pattern.fullmatch("\n".join(map(str, values)) + "\n" if values else "") is not None


def _any(values: Sequence[Any]) -> bool:
    return True


# Whether all values of a column, as PostgreSQL's reader yields them, have a canonical form.
_HAS_FORM: dict[Kind, Callable[[Sequence[Any]], bool]] = {
    Kind.INTEGER: _any,
    Kind.FLOAT: lambda values: all(value == value for value in values),
    Kind.BOOLEAN: _any,
    Kind.TEXT: _any,
    Kind.TIMESTAMP: _all_match(_STAMPS),
    Kind.DATE: _all_match(_DATES),
    Kind.TIME: _all_match(_TIMES),
    Kind.BLOB: _any,
    Kind.NUMERIC: _all_match(_NUMBERS),
    Kind.UUID: _any,
}
# Whether PostgreSQL's form is SQLite's.
_UNCHANGED: dict[Kind, bool] = {
    Kind.INTEGER: True,
    Kind.FLOAT: False,
    Kind.BOOLEAN: False,
    Kind.TEXT: True,
    Kind.TIMESTAMP: False,
    Kind.DATE: True,
    Kind.TIME: False,
    Kind.BLOB: True,
    Kind.NUMERIC: True,
    Kind.UUID: False,
}
