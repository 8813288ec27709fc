"""How an application spells its values on SQLite, column by column, and PostgreSQL's values in that spelling.

One uuid may stand there with hyphens or without, one time with microseconds or without. PostgreSQL keeps the
value and forgets the spelling, but on SQLite an equality compares texts. So the spelling of each column is
learnt from the file before PostgreSQL becomes primary. Rows that come back are written in it. A column that
has several spellings is `mixed`. A value that did not change keeps its own there, and new values get the most
frequent one.

PostgreSQL may hold what no canonical form covers (infinity, NaN, years before 1 or beyond 9999). Such a value
is refused here, as `canonical` refuses those of SQLite.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_interface
from math import isinf
from typing import Any

from app.db.common.errors import UnsupportedValue
from app.db.rows.canonical import describe, encode
from app.db.rows.canonical.documents import respaced
from app.db.rows.canonical.reals import shortest
from app.db.rows.canonical.times import COUNTS, EPOCH, microseconds, since_epoch, zone_of
from app.db.rows.kinds import Kind


@dataclass(frozen=True)
class Spelling:
    """One column's spelling.

    `form`, by kind:

    - real: `short` or `wide`, see `canonical.reals`; blob, where a policy reads texts: `base64`;
    - uuid: `hex`, `hyphens` or `braces`, in capitals for capital letters, or `blob` for 16 bytes;
    - timestamp: the separator, then the digits of a second's fraction: `6` always, `3` or `0` where no more
      are needed, `m` without seconds where none; time: the digits alone, behind a day where a policy reads moments;
    - boolean, where a policy reads words: that for true, a bar and that for false;
    - instant: as a timestamp, then the offset as it is written, if there is one; timestamp and instant, where a
      policy says that numbers count from 1970: `seconds` or `millis`;
    - interval: `micros` for a number, else `@` and the form of the timestamp that lies so far from 1970;
    - numeric in a text column: how many digits stand behind the point, at least; address: `whole` if a single
      host has the length of its prefix, too;
    - jsonb: `spaced` or `compact`, then `-ascii` where other letters are escaped. `mixed`: other forms occur, too.
    """

    form: str
    mixed: bool = False


# What is written to a column of which nothing was learnt: as SQLAlchemy does. None: there is one form only.
USUAL: dict[Kind, str | None] = {
    Kind.INTEGER: None,
    Kind.FLOAT: None,
    Kind.REAL: "short",
    Kind.BOOLEAN: None,
    Kind.TEXT: None,
    Kind.TIMESTAMP: " 6",
    Kind.DATE: None,
    Kind.TIME: "6",
    Kind.BLOB: None,
    Kind.NUMERIC: None,
    Kind.UUID: "hex",
    Kind.INSTANT: " 6",
    Kind.INTERVAL: "@ 6",
    Kind.JSON: None,
    Kind.JSONB: "spaced-ascii",
    Kind.ADDRESS: None,
}
_CLOCKS = ("6", "0", "3", "m")
_STAMP_FORMS = tuple(mark + digits for mark in " T" for digits in _CLOCKS)
UUID_FORMS = ("hex", "hyphens", "braces", "HEX", "HYPHENS", "BRACES", "blob")
# The forms under which a key's row is looked for on SQLite, besides the value as it was logged and the column's own.
FORMS: dict[Kind, tuple[str, ...]] = {
    Kind.INTEGER: (),
    Kind.FLOAT: (),
    Kind.REAL: (),
    Kind.BOOLEAN: (),
    Kind.TEXT: (),
    Kind.TIMESTAMP: _STAMP_FORMS,
    Kind.DATE: (),
    Kind.TIME: _CLOCKS,
    Kind.BLOB: (),
    Kind.NUMERIC: ("0", "1", "2", "4", "6", "8"),
    Kind.UUID: UUID_FORMS,
    Kind.INSTANT: tuple(form + zone for form in _STAMP_FORMS for zone in ("", "Z", "+00:00", " +00:00")),
    Kind.INTERVAL: ("micros", "@ 6", "@ 0", "@T6"),
    Kind.JSON: (),
    Kind.JSONB: (),
    Kind.ADDRESS: ("", "whole"),
}


def looked_for_count(kind: Kind) -> int:
    """How many values `looked_for` gives for a kind."""
    return len(FORMS[kind]) + 2


_STAMPS = re.compile(r"(?:(?!0000)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?(?:\+00)?\n)*")
_DATES = re.compile(r"(?:(?!0000)\d{4}-\d\d-\d\d\n)*")
_TIMES = re.compile(r"(?:(?!24)\d\d:\d\d:\d\d(?:\.\d{1,6})?\n)*")
_NUMBERS = re.compile(r"(?:-?\d+(?:\.\d+)?\n)*")
_LENGTHS = re.compile(r"(?:-?\d{1,19} microseconds\n)*")
NUMERIC_AFFINITIES = ("numeric", "real", "integer")


def usual(kind: Kind, declared: str) -> Spelling | None:
    """The spelling of a column that holds nothing yet, by its declared type on SQLite."""
    if kind is Kind.UUID:
        shape = "hyphens" if "36" in declared else ""
        if re.search(r"BLOB|BINARY|\(16\)", declared, re.I):  # SQLAlchemy makes a BINARY(16) a NUMERIC(16)
            shape = "blob"
        return Spelling(shape) if shape else None
    if kind in (Kind.JSONB, Kind.ADDRESS):  # PostgreSQL prints every value in a form of its own
        return Spelling(USUAL[kind] or "", mixed=True)
    if kind is Kind.INTERVAL and "INT" in declared.upper() and declared.upper() != "INTERVAL":
        return Spelling("micros")
    return None


def to_sqlite(
    kind: Kind, value: Any, spelling: Spelling | None = None, column: str = "", affinity: str = ""
) -> Any:
    """A value read from PostgreSQL in the form in which the application stores it on SQLite.

    Args:
        value: what the PostgreSQL store's select list yields: numbers, texts and bytes as Python's own types,
            the rest as text.
        affinity: of SQLite's column, which may keep fewer digits of a number than PostgreSQL does.

    Raises:
        UnsupportedValue: it has no canonical form, or SQLite's column would change it.
    """
    if value is None:
        return None
    if not _HAS_FORM[kind]([value]):
        raise UnsupportedValue(column, f"{describe(value)} in a {kind.value} column has no form on SQLite")
    try:
        return _spell(kind, spelling, affinity)(value)
    except (ValueError, OverflowError) as error:
        raise UnsupportedValue(column, f"{describe(value)} in a {kind.value} column: {error}") from None


def to_sqlite_column(
    kind: Kind, values: Sequence[Any], spelling: Spelling | None = None, column: str = "", affinity: str = ""
) -> Sequence[Any]:
    """`to_sqlite` for all values of a column; those that need no change are not looked at.

    Raises:
        UnsupportedValue: one has no canonical form.
    """
    present = [value for value in values if value is not None]
    if not _HAS_FORM[kind](present):
        return [to_sqlite(kind, value, spelling, column, affinity) for value in values]
    if (_UNCHANGED[kind] and spelling is None) or (kind is Kind.JSON and affinity not in NUMERIC_AFFINITIES):
        return values
    try:
        change = _spell(kind, spelling, affinity)
        return [None if value is None else change(value) for value in values]
    except (ValueError, OverflowError):
        return [to_sqlite(kind, value, spelling, column, affinity) for value in values]


def looked_for(kind: Kind, value: Any, spelling: Spelling | None, affinity: str) -> tuple[Any, ...]:
    """The spellings under which a key's value, from either side's log, may stand on SQLite.

    There are as many as `looked_for_count` says; some may be the same.
    """
    found = [value]
    try:
        canonical = encode(kind, value)
    except UnsupportedValue:
        canonical = None
    forms = FORMS[kind]
    if kind is Kind.INSTANT and spelling is not None and spelling.form not in COUNTS and spelling.form[2:]:
        forms = tuple(form[:2] + spelling.form[2:] if form[2:] == "Z" else form for form in forms)
    for form in (spelling, *map(Spelling, forms)) if canonical is not None else ():
        try:
            found.append(to_sqlite(kind, canonical, form, "", affinity))
        except UnsupportedValue:
            found.append(value)
    return tuple(found + [value] * (looked_for_count(kind) - len(found)))


def spell_uuid(canonical: str, form: str) -> str | bytes:
    """A canonical uuid in one of UUID_FORMS."""
    text = canonical.replace("-", "") if form.lower() == "hex" else canonical
    if form == "blob":
        return bytes.fromhex(canonical.replace("-", ""))
    text = f"{{{text}}}" if form.lower() == "braces" else text
    return text.upper() if form.isupper() else text


def _spell(kind: Kind, spelling: Spelling | None, affinity: str) -> Callable[[Any], Any]:
    form = spelling.form if spelling else USUAL[kind] or ""
    match kind:
        case Kind.REAL if form != "wide":
            return lambda value: shortest(value) + 0.0
        case Kind.FLOAT | Kind.REAL:
            return lambda value: value + 0.0
        case Kind.BOOLEAN if form:
            return lambda value: form.split("|")[0 if int(value) else 1]
        case Kind.BLOB if form:
            return lambda value: b64encode(value).decode()
        case Kind.BOOLEAN:
            return int
        case Kind.UUID:
            return lambda value: spell_uuid(str(value), form)
        case Kind.TIMESTAMP | Kind.INSTANT if form in COUNTS:
            return since_epoch(form)
        case Kind.TIMESTAMP | Kind.INSTANT:
            return _stamp(form)
        case Kind.TIME:
            return lambda value: form[:-1] + _clock(value, form[-1])
        case Kind.INTERVAL:
            return _length(form)
        case Kind.NUMERIC if affinity in NUMERIC_AFFINITIES:
            return _as_number
        case Kind.NUMERIC if form:
            return lambda value: _with_digits(value, int(form))
        case Kind.JSON if affinity in NUMERIC_AFFINITIES:
            return _not_as_other_number
        case Kind.JSONB:
            return lambda value: _document(value, form, affinity)
        case Kind.ADDRESS if form == "whole":
            return lambda value: value if "/" in value else ip_interface(value).with_prefixlen
        case Kind.ADDRESS:
            return lambda value: encode(Kind.ADDRESS, value)
    return lambda value: value


def _stamp(form: str) -> Callable[[str], str]:
    """A timestamp or an instant, as PostgreSQL prints it in UTC or canonical, in the form of `Spelling`."""
    separator, digits, zone = form[0], form[1], form[2:]
    if zone.strip() in ("", "Z", "+00:00", "+00", "+0000"):
        return lambda value: f"{value[:10]}{separator}{_clock(value[11:].removesuffix('+00'), digits)}{zone}"
    away = zone_of(zone)

    def moved(value: str) -> str:
        moment = datetime.fromisoformat(value.removesuffix("+00")).replace(tzinfo=UTC).astimezone(away)
        local = moment.replace(tzinfo=None).isoformat(separator, "microseconds")
        return f"{local[:11]}{_clock(local[11:], digits)}{zone}"

    return moved


def _clock(value: str, digits: str) -> str:
    """A time as PostgreSQL prints it, its fraction in the form of `Spelling`."""
    whole, _, fraction = value.partition(".")
    fraction = fraction.rstrip("0")
    if digits == "6" or len(fraction) > 3 or (fraction and digits != "3"):
        return f"{whole}.{fraction:0<6}"
    if digits == "3":
        return f"{whole}.{fraction:0<3}"
    return whole[:5] if digits == "m" and whole.endswith(":00") else whole


def _length(form: str) -> Callable[[str], Any]:
    """An interval in the form of `Spelling`."""
    if form == "micros":
        return microseconds
    stamp = _stamp(form[1:])
    return lambda value: stamp(
        (EPOCH + timedelta(microseconds=microseconds(value))).isoformat(" ", "microseconds")
    )


def _as_number(value: str) -> int | float:
    """A number as SQLite's numeric column holds it.

    Raises:
        ValueError: it would keep another one.
    """
    held: int | float = float(value)
    whole = value.partition(".")[0]
    if encode(Kind.NUMERIC, value) == encode(Kind.NUMERIC, whole) and -(2**63) <= int(whole) < 2**63:
        held = int(whole)
    if isinf(held) or encode(Kind.NUMERIC, held) != encode(Kind.NUMERIC, value):
        raise ValueError("SQLite's numeric column would round it; a text column keeps every digit")
    return held


def _with_digits(value: str, digits: int) -> str:
    whole, _, fraction = value.partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction:0<{digits}}" if digits or fraction else whole


def _not_as_other_number(value: str) -> Any:
    """JSON for a column that turns what looks like a number into one. Raises as `_as_number`."""
    return _as_number(encode(Kind.JSON, value) or "") if _ALONE.fullmatch(value) else value


_ALONE = re.compile(r"\s*[-+.\d][-+.\deE]*\s*", re.ASCII)


def _document(value: str, form: str, affinity: str) -> Any:
    """A jsonb as PostgreSQL prints it, or canonical, as the application writes its documents."""
    if affinity in NUMERIC_AFFINITIES and _ALONE.fullmatch(value):
        return _as_number(encode(Kind.JSONB, value) or "")
    return respaced(value, compact=form.startswith("compact"), ascii_only=form.endswith("-ascii"))


def _all_match(pattern: re.Pattern[str]) -> Callable[[Sequence[Any]], bool]:
    return lambda values: pattern.fullmatch("\n".join(map(str, values)) + "\n" if values else "") is not None


# Whether all values of a column, as PostgreSQL's reader yields them, have a canonical form.
_HAS_FORM: dict[Kind, Callable[[Sequence[Any]], bool]] = {
    Kind.INTEGER: lambda values: True,
    Kind.FLOAT: lambda values: all(value == value for value in values),
    Kind.REAL: lambda values: all(value == value for value in values),
    Kind.BOOLEAN: lambda values: set(values) <= {0, 1},
    Kind.TEXT: lambda values: True,
    Kind.TIMESTAMP: _all_match(_STAMPS),
    Kind.DATE: _all_match(_DATES),
    Kind.TIME: _all_match(_TIMES),
    Kind.BLOB: lambda values: True,
    Kind.NUMERIC: _all_match(_NUMBERS),
    Kind.UUID: lambda values: True,
    Kind.INSTANT: _all_match(_STAMPS),
    Kind.INTERVAL: _all_match(_LENGTHS),
    Kind.JSON: lambda values: True,
    Kind.JSONB: lambda values: True,
    Kind.ADDRESS: lambda values: True,
}
# Whether PostgreSQL's form is SQLite's.
_UNCHANGED: dict[Kind, bool] = {
    Kind.INTEGER: True,
    Kind.FLOAT: False,
    Kind.REAL: False,
    Kind.BOOLEAN: False,
    Kind.TEXT: True,
    Kind.TIMESTAMP: False,
    Kind.DATE: True,
    Kind.TIME: False,
    Kind.BLOB: True,
    Kind.NUMERIC: False,
    Kind.UUID: False,
    Kind.INSTANT: False,
    Kind.INTERVAL: False,
    Kind.JSON: False,
    Kind.JSONB: False,
    Kind.ADDRESS: False,
}
