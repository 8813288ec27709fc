"""Rows that the other side cannot hold: kept whole, with the reason, until they are fixed or accepted.

SQLite's columns are part of the reason. A column of numeric affinity turns a text that looks like a number into one:
`00123` becomes 123. Declared types such as STRING and UUID have that affinity. A text column turns numbers into texts.
A value that would mean another one afterwards is refused. SQLite itself tells what it would keep; see
https://www.sqlite.org/datatype3.html, section 3.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from app.db.common.errors import UnsupportedValue
from app.db.common.urls import Side
from app.db.rows import keys
from app.db.rows.canonical import describe, storage
from app.db.rows.catalog import Column, Row, Table
from app.db.rows.kinds import Kind
from app.db.rows.policy import encode_cell
from app.db.rows.spelling import NUMERIC_AFFINITIES

# What stands in quarantine: table, key as bookkeeping stores it, and the side that holds the row.
Held = Mapping[str, Mapping[str, Side]]

# Kinds of which some value may be a text that looks like a number, or a number. The other texts have marks in them.
_TEXTS = (Kind.TEXT, Kind.UUID, Kind.BLOB)
_WHOLE = (Kind.INTEGER, Kind.BOOLEAN, Kind.NUMERIC)
_NUMBERS = (*_WHOLE, Kind.FLOAT, Kind.REAL, Kind.TIMESTAMP, Kind.INSTANT, Kind.INTERVAL)
_LIKE_A_NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*", re.ASCII)


@dataclass(frozen=True)
class Rejected:
    """A row that was refused, as the primary holds it, with the column and the reason."""

    table: Table
    row: Row
    column: str
    reason: str

    def key_text(self) -> str:
        """The row's key as bookkeeping stores it."""
        return keys.to_text(keys.of_row(self.table, self.row))


@dataclass
class Unsettled:
    """What a round to SQLite has still to write to the quarantine, which stands on PostgreSQL.

    `released`: (table, key) of entries that do not hold any more, unless the same key is in `refused`.
    """

    released: set[tuple[str, str]] = field(default_factory=set)
    refused: list[Rejected] = field(default_factory=list)


def content_of(rejected: Rejected) -> str:
    """The whole row as JSON, column by column."""
    names = (column.name for column in rejected.table.columns)
    return json.dumps(dict(zip(names, map(storage, rejected.row), strict=True)), ensure_ascii=True)


def living_only_on(side: Side, table: Table, held: Held) -> frozenset[str]:
    """Keys of rows that this side holds and the other cannot.

    Such a row stays as it is when this side is the shadow, until the primary has a row of that key.
    """
    return frozenset(key for key, holder in held.get(table.name, {}).items() if holder is side)


def rows_with_keys(table: Table, rows: Sequence[Row], texts: frozenset[str]) -> list[keys.Key]:
    """The keys of those rows that have one of these texts."""
    found = (keys.of_row(table, row) for row in rows)
    return [key for key in found if keys.to_text(key) in texts]


def altered(table: Table, column: Column, stored: Sequence[Any]) -> dict[int, UnsupportedValue]:
    """Values that the column would keep as another value, by their places."""
    affinity, kind = column.affinity, column.kind
    if affinity == "text" and kind in _NUMBERS:
        doubtful = [n for n, value in enumerate(stored) if isinstance(value, (int, float))]
    elif affinity in NUMERIC_AFFINITIES and kind in _TEXTS:
        doubtful = [
            n for n, value in enumerate(stored) if type(value) is str and _LIKE_A_NUMBER.fullmatch(value)
        ]
    elif affinity == "real" and kind in _WHOLE:
        doubtful = [n for n, value in enumerate(stored) if isinstance(value, int)]
    else:
        return {}
    found = {}
    for n, kept in zip(doubtful, _kept(affinity, [stored[n] for n in doubtful]), strict=True):
        if not _means_the_same(table, column, stored[n], kept):
            reason = f"{describe(stored[n])} becomes {describe(kept)} in SQLite's column, which has {affinity} affinity"
            found[n] = UnsupportedValue(column.name, reason)
    return found


def _kept(affinity: str, values: Sequence[Any]) -> list[Any]:
    """What SQLite's columns of an affinity make of these values."""
    if not values:
        return []
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(f"CREATE TABLE kept (v {affinity})")
        memory.executemany("INSERT INTO kept VALUES (?)", [(value,) for value in values])
        return [value for (value,) in memory.execute("SELECT v FROM kept ORDER BY rowid")]


def _means_the_same(table: Table, column: Column, given: Any, kept: Any) -> bool:
    if type(given) is type(kept) and given == kept:
        return True
    try:
        return encode_cell(table, column, kept) == encode_cell(table, column, given)
    except UnsupportedValue:
        return False
