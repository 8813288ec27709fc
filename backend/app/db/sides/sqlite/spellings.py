"""How the application spells the values of each column, learnt from the SQLite file."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

from app.db.common.errors import UnsupportedValue
from app.db.rows.canonical import encode
from app.db.rows.canonical.reals import spelling_of
from app.db.rows.canonical.times import zone_of
from app.db.rows.catalog import Column, Schema, Table, quote
from app.db.rows.conversions import CONVERSIONS, COUNTED, WORDS
from app.db.rows.keys import RawKey, split
from app.db.rows.kinds import SPELLINGS, Kind
from app.db.rows.policy import active_policy, convert, encode_in
from app.db.rows.spelling import USUAL, Spelling, looked_for
from app.db.sides.sqlite.clocks import clock_spelling, time_spelling, timestamp_spelling


def learn(connection: sqlite3.Connection, schema: Schema) -> dict[tuple[str, str], Spelling]:
    """Look at every value of the columns that can be spelt in several ways. The answer is by table and column.

    A column that holds nothing is left out: what its declared type tells counts.
    """
    return {
        (table.name, column.name): spelling
        for table in schema.values()
        for column in table.columns
        if (spelling := of_column(connection, table, column)) is not None
    }


def learn_since(
    connection: sqlite3.Connection, schema: Schema, known: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Spelling]:
    """The same for the columns of keys, by which rows are found, and for those that held nothing at the copy."""
    return {
        (table.name, column.name): spelling
        for table in schema.values()
        for column in table.columns
        if (column in table.key or (table.name, column.name) not in known)
        and (spelling := of_column(connection, table, column)) is not None
    }


def unforeseen(table: Table, raws: Iterable[RawKey]) -> set[Column]:
    """Key columns in which one of these keys, as SQLite logged them, is spelt as no look-up expects it."""
    columns = [
        (n, c) for n, c in enumerate(table.key) if SPELLINGS[c.kind] and not (c.spelling and c.spelling.mixed)
    ]
    found: set[Column] = set()
    for raw in raws if columns else ():
        values = None if raw is None else split(table, raw)
        for n, column in columns:
            if column not in found and (values is None or not _is_foreseen(column, values[n])):
                found.add(column)
    return found


def _is_foreseen(column: Column, value: Any) -> bool:
    try:
        canonical = encode_in(column, value)
    except UnsupportedValue:
        return True  # it goes nowhere
    return value in looked_for(column.kind, canonical, column.spelling, column.affinity)


def of_key(sqlite: sqlite3.Connection, table: Table, column: Column) -> Spelling | None:
    """The spelling of a column with such a key in it: from now on every row is looked at."""
    found = of_column(sqlite, table, column)
    return None if found is None else Spelling(found.form, mixed=True)


def of_column(sqlite: sqlite3.Connection, table: Table, column: Column) -> Spelling | None:
    """The spelling of a column's values. None if there are none, or only one form."""
    if (chosen := _by_policy(sqlite, table, column)) is not None:
        return chosen
    look = _LOOKS[column.kind]
    if column.kind is Kind.NUMERIC and column.affinity != "text":
        return None
    return None if look is None else look(sqlite, quote(table.name), quote(column.name))


def _by_policy(sqlite: sqlite3.Connection, table: Table, column: Column) -> Spelling | None:
    """The spelling of values that only a policy reads: counts from 1970, words for true, moments for times, base64."""
    conversions = active_policy().conversions(table, column)
    chosen = [conversion.name for conversion in conversions]
    name, rows = quote(column.name), quote(table.name)
    # The first one reads every number.
    if units := [COUNTED[policy] for policy in chosen if policy in COUNTED]:
        return _counted(sqlite, rows, name, units[0])
    if "true_false_text" in chosen:
        return _by_value(_word_form, _most_frequent)(sqlite, rows, name)
    # No other policy may have read it before, as `text_as_blob` does.
    if "base64_as_blob" in chosen and convert(conversions, "AP8=") == b"\x00\xff":
        look = _by_value(_blob_form, _most_frequent)
        return look(sqlite, rows, name) or Spelling("base64")
    return _moments(sqlite, rows, name) if "moment_is_clock" in chosen else None


def _counted(sqlite: sqlite3.Connection, table: str, name: str, unit: str) -> Spelling | None:
    """Numbers, where no more of the values are times as text."""

    def form_of(value: Any) -> str | None:
        return unit if type(value) in (int, float) else _instant_form(value) and "text"

    def judge(forms: Counter[str]) -> Spelling:
        return Spelling(unit if forms[unit] >= forms["text"] else "text", forms["text"] > 0)

    found = _by_value(form_of, judge)(sqlite, table, name) or Spelling(unit)
    return None if found.form == "text" else found


def _moments(sqlite: sqlite3.Connection, table: str, name: str) -> Spelling | None:
    """The day that stands before most times of day, and how these are spelt, where most have one."""
    found = _by_value(_day_before, _most_frequent)(sqlite, table, name)
    if found is None or not found.form:
        return None
    clock = time_spelling(sqlite, table, f"substr({name}, 12)")
    return None if clock is None else Spelling(found.form + clock.form, mixed=True)


def _day_before(value: Any) -> str | None:
    """The day and the separator before a time of day, empty for a time alone."""
    if type(value) is not str:
        return None
    if CONVERSIONS["moment_is_clock"](value) != value:
        return value[:11]
    try:
        encode(Kind.TIME, value)
    except UnsupportedValue:
        return None
    return ""


def _blob_form(value: Any) -> str | None:
    if type(value) is not str:
        return ""
    return "base64" if type(CONVERSIONS["base64_as_blob"](value)) is bytes else None


def _uuid(sqlite: sqlite3.Connection, table: str, name: str) -> Spelling | None:
    shapes: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    for length, lower, upper, n in sqlite.execute(
        f"SELECT length({name}), {name} = lower({name}), {name} = upper({name}), count(*) FROM {table} "
        f"WHERE typeof({name}) = 'text' GROUP BY 1, 2, 3"
    ):
        shapes[{32: "hex", 36: "hyphens"}.get(length, "braces")] += n
        if not (lower and upper):
            letters["lower" if lower else "upper" if upper else "both"] += n
    (blobs,) = sqlite.execute(f"SELECT count(*) FROM {table} WHERE typeof({name}) = 'blob'").fetchone()
    shapes.update({"blob": blobs} if blobs else {})
    if not shapes:
        return None
    shape = shapes.most_common(1)[0][0]
    capitals = bool(letters) and letters["upper"] > letters["lower"] + letters["both"]
    return Spelling(
        shape.upper() if capitals else shape, len(shapes) > 1 or len(letters) > 1 or letters["both"] > 0
    )


def _by_value(
    form_of: Callable[[Any], str | None],
    judge: Callable[[Counter[str]], Spelling],
    usual_form: str | None = None,
) -> Callable[[sqlite3.Connection, str, str], Spelling | None]:
    """The most frequent form, each value looked at by a function that says its form, or None where it has none.

    What has none is written in no form that is looked for, and keeps its own: the column is mixed.
    """

    def look(sqlite: sqlite3.Connection, table: str, name: str) -> Spelling | None:
        sqlite.create_function(
            "st_form", 2, lambda value, kind: form_of(_read(value, kind)), deterministic=True
        )
        forms: Counter[str] = Counter()
        odd: str | None = None
        for form, n in sqlite.execute(
            f"SELECT st_form(CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END, "
            f"typeof({name})), count(*) FROM {table} WHERE {name} IS NOT NULL GROUP BY 1"
        ):
            if form is None:
                odd = usual_form
            else:
                forms[form] += n
        if not forms:
            return None if odd is None else Spelling(odd, mixed=True)
        found = judge(forms)
        return Spelling(found.form, found.mixed or odd is not None)

    return look


def _read(value: Any, kind: str) -> Any:
    return value.decode("utf-8", "replace") if kind == "text" else value


_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d([ T])\d\d:\d\d(:\d\d(?:\.(\d{1,6}))?)?( ?(?:Z|[+-][\d:]+))?", re.ASCII
)


def _instant_form(value: Any) -> str | None:
    """Separator, what the clock says of its form as in `_fraction`, and the offset, with bars between them."""
    found = _INSTANT.fullmatch(value) if type(value) is str else None
    if found is None:
        return None
    separator, seconds, fraction, zone = found.groups()
    if zone and not _is_zone(zone):
        return None
    if seconds is None:
        mark = "m"
    elif fraction is None:
        mark = "0m" if seconds == ":00" else "0"
    else:
        needed = fraction.rstrip("0")
        mark = str(len(fraction)) + ("" if not needed else "=" if len(needed) <= 3 else "!")
    return f"{separator}|{mark}|{zone or ''}"


def _is_zone(offset: str) -> bool:
    try:
        zone_of(offset)
    except ValueError:
        return False
    return True


def _interval_form(value: Any) -> str | None:
    """As `_instant_form`, or `micros`. A length of time has no offset."""
    form = "micros" if type(value) is int else _instant_form(value)
    return form if form == "micros" or (form and form.endswith("|")) else None


def _of_stamps(forms: Counter[str]) -> Spelling:
    """The form that explains most of these stamps, and of numbers beside them."""
    numbers = forms.pop("micros", 0)
    if numbers > forms.total():
        return Spelling("micros", bool(forms))
    separators, digits, zones = (Counter[str]() for _ in range(3))
    for form, n in forms.items():
        for counter, part in zip((separators, digits, zones), form.split("|"), strict=True):
            counter[part] += n
    clock = clock_spelling(digits)
    mixed = clock.mixed or len(separators) > 1 or len(zones) > 1 or numbers > 0
    return Spelling(separators.most_common(1)[0][0] + clock.form + zones.most_common(1)[0][0], mixed)


def _of_intervals(forms: Counter[str]) -> Spelling:
    found = _of_stamps(forms)
    return found if found.form == "micros" else Spelling(f"@{found.form}", found.mixed)


def _most_frequent(forms: Counter[str]) -> Spelling:
    return Spelling(forms.most_common(1)[0][0], len(forms) > 1)


def _numeric_form(value: Any) -> str | None:
    return (
        str(len(value.partition(".")[2])) if type(value) is str and _PLAIN_NUMBER.fullmatch(value) else None
    )


_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)


def _word_form(value: Any) -> str | None:
    """The words for true and false of which this is one. Empty for a number."""
    pair = next((pair for pair in WORDS if value.lower() in pair), None) if type(value) is str else ("",)
    change = str.upper if str(value).isupper() else str.title if str(value).istitle() else str
    return None if pair is None else "|".join(map(change, pair))


def _document_form(value: Any) -> str | None:
    """`spaced` or `compact`, and whether letters are escaped; what tells nothing has the usual form."""
    if type(value) is not str or value[:1] not in ("{", "["):
        return None
    spaced = ": " in value or ", " in value or not (":" in value or "," in value)
    return ("spaced" if spaced else "compact") + ("" if re.search(r"[^\x00-\x7f]", value) else "-ascii")


def _always_mixed(
    look: Callable[[sqlite3.Connection, str, str], Spelling | None],
) -> Callable[[sqlite3.Connection, str, str], Spelling | None]:
    """A column whose values each keep their own form: PostgreSQL forgets the order of names, and blanks."""

    def always(sqlite: sqlite3.Connection, table: str, name: str) -> Spelling | None:
        found = look(sqlite, table, name)
        return None if found is None else Spelling(found.form, mixed=True)

    return always


def _address_form(value: Any) -> str | None:
    return None if type(value) is not str else "whole" if value.endswith(("/32", "/128")) else ""


def _of_reals(forms: Counter[str]) -> Spelling:
    wide, short = forms["wide"], forms["short"]
    return Spelling("wide" if wide > short else "short", bool(wide and short))


# How a kind's spelling is found out; None: it has one.
_LOOKS: dict[Kind, Callable[[sqlite3.Connection, str, str], Spelling | None] | None] = {
    Kind.INTEGER: None,
    Kind.FLOAT: None,
    Kind.REAL: _by_value(spelling_of, _of_reals, USUAL[Kind.REAL]),
    Kind.BOOLEAN: None,
    Kind.TEXT: None,
    Kind.TIMESTAMP: timestamp_spelling,
    Kind.DATE: None,
    Kind.TIME: time_spelling,
    Kind.BLOB: None,
    Kind.NUMERIC: _by_value(_numeric_form, _most_frequent, "0"),
    Kind.UUID: _uuid,
    Kind.INSTANT: _by_value(_instant_form, _of_stamps, USUAL[Kind.INSTANT]),
    Kind.INTERVAL: _by_value(_interval_form, _of_intervals, USUAL[Kind.INTERVAL]),
    Kind.JSON: None,
    Kind.JSONB: _always_mixed(_by_value(_document_form, _most_frequent)),
    Kind.ADDRESS: _always_mixed(_by_value(_address_form, _most_frequent)),
}
