"""Rows that the other side cannot hold: kept whole, with the reason, until they are fixed or accepted."""

from __future__ import annotations

import json
from dataclasses import dataclass

from app.db.rows import keys
from app.db.rows.canonical import storage
from app.db.rows.catalog import Row, Table


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


def content_of(rejected: Rejected) -> str:
    """The whole row as JSON, column by column."""
    names = (column.name for column in rejected.table.columns)
    return json.dumps(dict(zip(names, map(storage, rejected.row), strict=True)), ensure_ascii=True)
