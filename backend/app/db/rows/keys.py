"""A row's key: the forms in which it is kept, and every way from one form to another.

A key names one row on both sides. It has these forms:

- **values**: one value per key column, as a side holds them in the row;
- **logged** (`RawKey`): what a side's change log holds;
- **announced**: a logged key as text, as strict mode keeps it on the shadow;
- **canonical** (`Key`): one text per key column, the same on both sides. Keys are compared in this form;
- **text**: a canonical key in one text, as bookkeeping stores the key and the operator reads it;
- **bound**: a list of values in JSON, the end of a range of keys.

SQLite may hold a key that PostgreSQL cannot. Such a key has no canonical form, so its row is never looked up
on PostgreSQL. Only its text exists. How a key is spelt in SQL stands in `key_sql`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from math import nan
from typing import Any

from app.db.common.errors import UnsupportedValue
from app.db.rows.canonical import storage
from app.db.rows.catalog import Column, Row, Table
from app.db.rows.kinds import IN_JSON, SPELLINGS, Kind
from app.db.rows.policy import encode_column_in, encode_in
from app.db.rows.spelling import looked_for, to_sqlite

RawKey = Any  # a key as the log holds it: the bare value, or JSON text when the key has several columns
Key = tuple[str | None, ...]  # a key in canonical form, or in the form of `of_row` where it has none
_NUMBER = re.compile(r"-?[0-9]{1,19}")
_REAL = re.compile(r"-?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?(p700)?|-?(?:inf|Infinity)")
_BYTES = re.compile(r"\\x(?:[0-9a-f]{2})*")
_BLOB = "blob"  # the name under which JSON holds bytes, as SQLite's triggers write them
_HUGE = "huge"  # and a real of more than 1e60, divided by this
_BY = 2.0**700


def split(table: Table, raw: RawKey) -> tuple[Any, ...]:
    """A logged key as one value per key column."""
    return tuple(map(_from_json, json.loads(raw))) if len(table.key) > 1 else (raw,)


def part_of(raw: str | None, n: int) -> Any:
    """One column's value of a key that SQLite logged for several columns. None for the whole table."""
    return None if raw is None else _from_json(json.loads(raw)[n])


def join(values: Sequence[Any]) -> RawKey:
    """One value per key column as a logged key."""
    return values[0] if len(values) == 1 else to_bound(values)


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return bytes.fromhex(value[_BLOB]) if _BLOB in value else value[_HUGE] * _BY


def _to_json(value: Any) -> Any:
    return {_BLOB: value.hex()} if isinstance(value, bytes) else value


def number(column: Column, value: Any) -> Any:
    """A number of a key that was stored as text, as announcements are. Any other value stays as it is.

    No number looks so as SQLite's text in a numeric column: it would be one.
    """
    if type(value) is not str:
        return value
    if column.kind is Kind.INTEGER and _NUMBER.fullmatch(value) and -(2**63) <= int(value) < 2**63:
        return int(value)
    if column.kind is Kind.FLOAT and (found := _REAL.fullmatch(value)):
        return float(value) if found[1] is None else float(value.removesuffix(found[1])) * _BY
    return value


def _typed(column: Column, text: Any) -> Any:
    """A part of PostgreSQL's logged key, which is a text, as SQLite would have logged it."""
    if column.kind is Kind.BOOLEAN and text in ("t", "true", "f", "false"):
        return int(text[0] == "t")
    if column.kind is Kind.BLOB and type(text) is str and _BYTES.fullmatch(text):
        return bytes.fromhex(text[2:])
    if column.kind is Kind.FLOAT and text == "NaN":  # of PostgreSQL alone: a text of SQLite stays a text
        return nan
    return number(column, text)


# To and from the log.


def typed(table: Table, logged: Sequence[str | None]) -> list[RawKey]:
    """Keys of PostgreSQL's log, which are texts, as SQLite would have logged them. None is the whole table."""
    if not any(column.kind in _TYPED for column in table.key):
        return list(logged)
    if table.integer_key:
        return [None if text is None else int(text) for text in logged]
    return [None if text is None else _typed_key(table, text) for text in logged]


_TYPED = (Kind.INTEGER, Kind.FLOAT, Kind.BOOLEAN, Kind.BLOB)


def _typed_key(table: Table, text: str) -> RawKey:
    if all(column.kind is Kind.INTEGER or column.kind not in _TYPED for column in table.key):
        return text  # JSON holds these as they are
    return join([_typed(c, v) for c, v in zip(table.key, split(table, text), strict=True)])


def announced(raw: RawKey) -> str:
    """A logged key as text."""
    return f"\\x{raw.hex()}" if isinstance(raw, bytes) else str(raw)


def from_announced(table: Table, text: str) -> RawKey:
    """The key that was announced, as either log would have it."""
    if len(table.key) > 1:
        return text
    (column,) = table.key
    if column.kind is Kind.BOOLEAN and text in ("0", "1"):
        return int(text)
    if column.kind is Kind.UUID and _BYTES.fullmatch(text):
        return bytes.fromhex(text[2:])
    return _typed(column, text) if column.kind is not Kind.INTEGER else text


def findable(table: Table, raw: RawKey) -> RawKey:
    """A logged key, or None (the whole table) if it has several columns and JSON may not lead back to its rows."""
    if raw is None or len(table.key) == 1:
        return raw
    return None if canonical(table, split(table, raw)) is None else raw


def identity(table: Table, raw: RawKey) -> Key | str:
    """The same for every logged form of one key, and for no other key."""
    return canonical_of(table, raw) or announced(raw)


# Their values with a canonical form are texts and integers on SQLite.
_EXACT_IN_JSON = (
    Kind.INTEGER,
    Kind.BOOLEAN,
    Kind.TEXT,
    Kind.TIMESTAMP,
    Kind.DATE,
    Kind.TIME,
    Kind.INSTANT,
    Kind.INTERVAL,
    Kind.ADDRESS,
)


def is_exact_in_json(table: Table) -> bool:
    """Whether SQLite's JSON has the values of logged keys as they are: no part is a real, nor bytes."""
    return len(table.key) == 1 or all(column.kind in _EXACT_IN_JSON for column in table.key)


def logged(table: Table, key: Key) -> RawKey:
    """A canonical key as the log of either side may hold it.

    Raises:
        ValueError, TypeError: the key has no canonical form.
    """
    return join([_value(column, text) for column, text in zip(table.key, key, strict=True)])


def logged_on_sqlite(table: Table, key: Key) -> RawKey:
    """A canonical key as SQLite's triggers would log it. Raises as `logged`."""
    return join(values_on_sqlite(table, key))


def _value(column: Column, text: str | None) -> Any:
    return int(text) if column.kind is Kind.INTEGER and text is not None else _typed(column, text)


def text_on_postgres(table: Table, raw: RawKey) -> str:
    """A logged key as PostgreSQL's log holds it."""
    key = canonical_of(table, raw)
    if key is None or len(key) == 1:
        return announced(raw)
    return json.dumps(
        [_value(c, text) if IN_JSON[c.kind] else text for c, text in zip(table.key, key, strict=True)]
    )


# On SQLite.


def on_sqlite(table: Table, raw: RawKey) -> tuple[Any, ...]:
    """A key that either side logged, as the values that SQLite stores, in the spelling of their columns."""
    return tuple(_spelled(c, v) for c, v in zip(table.key, split(table, raw), strict=True))


def matching_on_sqlite(table: Table, raw: RawKey) -> tuple[Any, ...]:
    """The parameters of `key_sql.match_on_sqlite`: a key that either side logged, in every spelling."""
    parts = zip(table.key, split(table, raw), strict=True)
    return tuple(
        value
        for c, v in parts
        for value in (
            looked_for(c.kind, v, c.spelling, c.affinity) if SPELLINGS[c.kind] else (_spelled(c, v),)
        )
    )


def values_on_sqlite(table: Table, key: Key) -> tuple[Any, ...]:
    """A canonical key as the values that SQLite stores. Raises as `logged`."""
    return tuple(_spelled(c, _value(c, text)) for c, text in zip(table.key, key, strict=True))


def part_on_sqlite(column: Column, text: str | None) -> Any:
    """One canonical value of a key as SQLite compares it, in canonical form where there are several."""
    return _value(column, text)


def _spelled(column: Column, value: Any) -> Any:
    """A value of a key as SQLite stores it; one that has no form as it is."""
    try:
        if SPELLINGS[column.kind]:
            value = encode_in(column, value)
        return to_sqlite(column.kind, number(column, value), column.spelling, column.name, column.affinity)
    except (UnsupportedValue, TypeError, ValueError):
        return value


# The canonical form, in which PostgreSQL is asked and keys are compared.


def canonical(table: Table, values: Sequence[Any]) -> Key | None:
    """The canonical form of a row's key values. None if PostgreSQL cannot hold the key."""
    try:
        key = tuple([encode_in(c, v) for c, v in zip(table.key, values, strict=True)])
    except UnsupportedValue:
        return None
    return None if None in key else key


def canonical_of(table: Table, raw: RawKey) -> Key | None:
    """A logged key in canonical form. None if PostgreSQL cannot hold the key."""
    return canonical(table, [number(c, v) for c, v in zip(table.key, split(table, raw), strict=True)])


def canonical_columns(table: Table, raws: Sequence[RawKey]) -> list[Sequence[str | None]]:
    """Logged keys in canonical form, a list for each key column; keys that have none are left out."""
    values = [raws] if len(table.key) == 1 else list(zip(*(split(table, raw) for raw in raws), strict=True))
    columns = [encode_column_in(column, part) for column, part in zip(table.key, values, strict=False)]
    if None not in columns:
        return columns  # type: ignore[return-value]  # as just seen
    known = [key for raw in raws if (key := canonical_of(table, raw)) is not None]
    return list(zip(*known, strict=True))


def of_row(table: Table, row: Row) -> Key:
    """A row's key in canonical form, whichever side the row comes from.

    A key that has no canonical form is distinct all the same. A part that PostgreSQL cannot hold becomes
    JSON of its stored value. SQLite lets NULL into keys, several times over; such a part is told apart by
    the row's content.
    """
    values = [row[position] for position in table.key_positions]
    if (key := canonical(table, values)) is not None:
        return key
    parts = [_part(column, value) for column, value in zip(table.key, values, strict=True)]
    if None not in parts:
        return tuple(parts)
    content = json.dumps([storage(value) for value in row]).encode()
    digest = f"NULL {hashlib.sha256(content).hexdigest()[:16]}"
    return tuple(digest if part is None else part for part in parts)


def _part(column: Column, value: Any) -> str | None:
    """One value of a key as text. None for NULL."""
    try:
        return encode_in(column, value)
    except UnsupportedValue:
        return json.dumps(storage(value))


def may_coincide(table: Table) -> bool:
    """Whether two rows of SQLite may have one key on PostgreSQL, and the order of keys may differ."""
    return any(SPELLINGS[column.kind] for column in table.key)


# The text of bookkeeping: quarantine and mismatches.


def to_text(key: Key) -> str:
    """A key in one text."""
    return key[0] or "" if len(key) == 1 else json.dumps(list(key))


def from_text(table: Table, text: str) -> Key:
    """The key that `to_text` stored."""
    return (text,) if len(table.key) == 1 else tuple(json.loads(text))


def known(table: Table, text: str) -> Key | None:
    """The key that `to_text` stored, if it has a canonical form."""
    try:
        key = from_text(table, text)
        return key if canonical_of(table, logged(table, key)) == key else None
    except (ValueError, TypeError):
        return None


def text_of(table: Table, raw: RawKey) -> str:
    """A logged key in one text, equal to that of its row. The log may hold an integer as text."""
    parts = zip(table.key, split(table, raw), strict=True)
    return to_text(tuple(_part(column, number(column, value)) for column, value in parts))


def texts_of(table: Table, raw: RawKey) -> list[str]:
    """Every text under which bookkeeping may know a logged key.

    A key that had no place on PostgreSQL may have one now. An enum has got its label since, or an integer has
    become wider.
    """
    texts = [text_of(table, raw)]
    if any(column.is_narrow for column in table.key):
        values = zip(table.key, split(table, raw), strict=True)
        parts = [
            json.dumps(storage(value)) if column.is_narrow else _part(column, value)
            for column, value in ((column, number(column, value)) for column, value in values)
        ]
        texts.append(to_text(tuple(parts)))
    return texts


# The ends of ranges: copy and verify.


def to_bound(values: Sequence[Any]) -> str:
    """The values of a key, as SQLite holds them or canonical, as the end of a range."""
    return json.dumps(list(map(_to_json, values)))


def from_bound(text: str) -> tuple[Any, ...]:
    """The values that `to_bound` stored."""
    return tuple(map(_from_json, json.loads(text)))


def part_on_postgres(column: Column, value: Any) -> Any:
    """A value of a key, as SQLite stores it or canonical, as a parameter that PostgreSQL casts to its type."""
    try:
        return encode_in(column, number(column, value))
    except UnsupportedValue:
        return value
