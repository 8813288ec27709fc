"""Rows that the other side cannot hold: kept whole, with the reason, until they are fixed or accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.db.common.urls import Side
from app.db.rows import keys
from app.db.rows.canonical import storage
from app.db.rows.catalog import Row, Table

# What stands in quarantine: table, key as bookkeeping stores it, and the side that holds the row.
Held = Mapping[str, Mapping[str, Side]]


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
