"""Exact comparison of rows of the two sides, in canonical form.

Used by verify for whole tables and by the switch for the keys that changed since. Rows are first compared as
they come, in one C-level step. Where they are not equal at once, each column is brought to its canonical form, and
each value of a column that differs. Only what differs there is a mismatch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.db.common.errors import UnsupportedValue
from app.db.rows import keys
from app.db.rows.catalog import Column, Row, Table
from app.db.rows.keys import Key
from app.db.rows.policy import encode_cell, encode_column_in


@dataclass(frozen=True)
class Mismatch:
    """One key at which the sides differ.

    `kind` is one of six. different: the values differ. missing: the shadow lacks the row. extra: only the
    shadow has the row. double: two rows of SQLite have one key. unfound: a scan sees the row, a lookup does
    not. count: the sides have different numbers of rows, and the key stands for the table. `columns`: which,
    for different.
    """

    table: str
    key: Key
    kind: str
    columns: tuple[str, ...] = ()

    def key_text(self) -> str:
        """The key as bookkeeping stores it."""
        return keys.to_text(self.key)


def compare_rows(table: Table, sqlite_rows: Iterable[Row], postgres_rows: Iterable[Row]) -> list[Mismatch]:
    """Compare two sets of rows of one table by key.

    Args:
        sqlite_rows: as SQLite stores them.
        postgres_rows: as the PostgreSQL store's select list yields them.

    Returns:
        Mismatches with `missing` and `extra` seen from SQLite: missing on PostgreSQL, extra there.
    """
    ours: dict[Key, Row] = {}
    double: set[Key] = set()
    for row in sqlite_rows:
        key = keys.of_row(table, row)
        if key in ours and ours[key] != row:
            double.add(key)
        ours[key] = row
    theirs = {keys.of_row(table, row): row for row in postgres_rows}
    found = [Mismatch(table.name, key, "missing") for key in ours.keys() - theirs.keys()]
    found += [Mismatch(table.name, key, "extra") for key in theirs.keys() - ours.keys()]
    found = [item for item in found if item.key not in double]
    found += [Mismatch(table.name, key, "double", table.key_names) for key in double]
    both = list(ours.keys() & theirs.keys() - double)
    differing = _differing(table, [ours[key] for key in both], [theirs[key] for key in both])
    found += [Mismatch(table.name, both[n], "different", tuple(columns)) for n, columns in differing.items()]
    return found


def _differing(table: Table, ours: Sequence[Row], theirs: Sequence[Row]) -> dict[int, list[str]]:
    """Positions at which rows of the same key differ, with the columns. A column that is alike costs little."""
    found: dict[int, list[str]] = {}
    pairs = zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True)
    for column, (left, right) in zip(table.columns, pairs, strict=False):  # without rows there are no columns
        texts = encode_column_in(column, left)
        if texts is not None and texts == encode_column_in(column, right):
            continue
        for n, (mine, other) in enumerate(zip(left, right, strict=True)):
            if not _equal(table, column, mine, other):
                found.setdefault(n, []).append(column.name)
    return found


def _equal(table: Table, column: Column, ours: Any, theirs: Any) -> bool:
    """Whether both have a canonical form, the same: what has none equals nothing, however it is spelt."""
    try:
        return encode_cell(table, column, ours) == encode_cell(table, column, theirs)
    except UnsupportedValue:
        return False


def by_table(mismatches: Sequence[Mismatch]) -> Mapping[str, int]:
    """How many mismatches each table has."""
    counts: dict[str, int] = {}
    for item in mismatches:
        counts[item.table] = counts.get(item.table, 0) + 1
    return counts
