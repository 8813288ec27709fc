"""Writing SQLite as the shadow: rows in the form in which the application stores them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any

from app.db.common.errors import ApplyFailed, UnsupportedValue
from app.db.rows import key_sql, keys
from app.db.rows.canonical import encode
from app.db.rows.catalog import Column, Row, Table, quote
from app.db.rows.keys import Key, RawKey
from app.db.rows.kinds import SPELLINGS
from app.db.rows.spelling import to_sqlite_column
from app.db.sides.control import sqlite_control
from app.db.sides.sqlite.source import SqliteSource


class SqliteTarget:
    """One write transaction of the applier on SQLite."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._old: dict[
            tuple[str, Key], Row
        ] = {}  # of tables with mixed spellings, until their new rows come
        self.control = sqlite_control(connection)
        self.position: str = connection.execute("SELECT position FROM st_watermark WHERE id = 1").fetchone()[
            0
        ]

    careful = False  # SQLite takes every row that PostgreSQL holds
    is_clean = False  # small rounds go to PostgreSQL only

    def shed_foreign_keys(self) -> int:
        """None stand in the way: the applier's connection has them off."""
        return 0

    def covers(self, position: str, end: str) -> bool:
        """Not asked: PostgreSQL's positions have no order."""
        return False

    def burst(self, entries: int) -> None:
        """Nothing to gain on a local file."""

    def announced(self) -> list[tuple[str, RawKey, str]]:
        return self._connection.execute("SELECT tbl, k, token FROM st_pending").fetchall()

    def clear(self, table: Table) -> None:
        self._connection.execute(f"DELETE FROM {quote(table.name)}")

    def delete(self, table: Table, raws: Sequence[RawKey]) -> None:
        self._keep_spellings(table, raws)
        self._connection.executemany(
            f"DELETE FROM {quote(table.name)} WHERE {key_sql.match_on_sqlite(table)}",
            [keys.matching_on_sqlite(table, raw) for raw in raws],
        )

    def _keep_spellings(self, table: Table, raws: Sequence[RawKey]) -> None:
        """Remember how the rows are spelt that are about to be replaced, where their columns are mixed."""
        if not any(map(_is_mixed, table.columns)):
            return
        thorough = any(map(_is_mixed, table.key))
        for row in SqliteSource(self._connection).rows_of(table, raws, thorough=thorough):
            self._old[table.name, keys.of_row(table, row)] = row
            if thorough:  # under a spelling that nobody looks for it would stand there twice
                exactly = " AND ".join(f"{quote(name)} IS ?" for name in table.key_names)
                self._connection.execute(
                    f"DELETE FROM {quote(table.name)} WHERE {exactly}",
                    [row[position] for position in table.key_positions],
                )

    def replace(self, table: Table, raws: Sequence[RawKey], rows: list[Row]) -> int:
        self.delete(table, raws)
        return self.insert(table, [rows] if rows else [])

    def insert(self, table: Table, rows: Iterable[list[Row]]) -> int:
        """Insert rows.

        Raises:
            ApplyFailed: PostgreSQL holds a value that has no canonical form.
        """
        columns = ", ".join(quote(column.name) for column in table.columns)
        marks = ", ".join("?" * len(table.columns))
        for batch in filter(None, rows):
            try:
                spelt = [
                    to_sqlite_column(column.kind, values, column.spelling, column.name)
                    for column, values in zip(table.columns, zip(*batch, strict=True), strict=True)
                ]
            except UnsupportedValue as error:
                raise ApplyFailed(
                    str(error),
                    op="write",
                    table=table.name,
                    log_range="",
                    hint="correct the value on PostgreSQL",
                ) from error
            self._connection.executemany(
                f"INSERT INTO {quote(table.name)} ({columns}) VALUES ({marks})",
                self._as_before(table, zip(*spelt, strict=True)) if self._old else zip(*spelt, strict=True),
            )
        return 0

    def _as_before(self, table: Table, rows: Iterable[Row]) -> Iterable[Row]:
        """Rows with the spelling that their unchanged values had."""
        for row in rows:
            old = self._old.get((table.name, keys.of_row(table, row)))
            yield row if old is None else tuple(map(_kept, table.columns, old, row))

    def forget_announced(self, raws: dict[str, list[RawKey]]) -> None:
        for table, of_table in raws.items():
            self._connection.executemany(
                "DELETE FROM st_pending WHERE tbl = ? AND k = ?", [(table, key) for key in of_table]
            )

    def announce(self, table: Table, raws: Sequence[RawKey], token: str) -> None:
        """Remember keys that strict mode writes here before the primary commits them."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO st_pending (tbl, k, token) VALUES (?, ?, ?)",
            [(table.name, str(raw), token) for raw in raws],
        )

    def advance(self, position: str, changes: int) -> None:
        self._connection.execute(
            "UPDATE st_watermark SET position = ?, changes = changes + ?, applied_at = ? WHERE id = 1",
            (position, changes, time.time()),
        )


def _is_mixed(column: Column) -> bool:
    return SPELLINGS[column.kind] and column.spelling is not None and column.spelling.mixed


def _kept(column: Column, old: Any, new: Any) -> Any:
    """The old spelling if both mean the same."""
    if old == new or not _is_mixed(column) or old is None or new is None:
        return new
    try:
        return old if encode(column.kind, old) == encode(column.kind, new) else new
    except UnsupportedValue:
        return new
