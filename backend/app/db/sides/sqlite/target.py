"""Writing SQLite as the shadow: rows in the form in which the application stores them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence

from app.db.rows import key_sql, keys
from app.db.rows.canonical import to_sqlite_column
from app.db.rows.catalog import Row, Table, quote
from app.db.rows.keys import RawKey
from app.db.sides.control import sqlite_control


class SqliteTarget:
    """One write transaction of the applier on SQLite."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
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
        self._connection.executemany(
            f"DELETE FROM {quote(table.name)} WHERE {key_sql.match_on_sqlite(table)}",
            [keys.on_sqlite(table, raw) for raw in raws],
        )

    def replace(self, table: Table, raws: Sequence[RawKey], rows: list[Row]) -> int:
        self.delete(table, raws)
        return self.insert(table, [rows] if rows else [])

    def insert(self, table: Table, rows: Iterable[list[Row]]) -> int:
        columns = ", ".join(quote(column.name) for column in table.columns)
        marks = ", ".join("?" * len(table.columns))
        kinds = [column.kind for column in table.columns]
        for batch in filter(None, rows):
            self._connection.executemany(
                f"INSERT INTO {quote(table.name)} ({columns}) VALUES ({marks})",
                zip(*map(to_sqlite_column, kinds, zip(*batch, strict=True)), strict=True),
            )
        return 0

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

    def announce_all(self, table: Table, token: str) -> None:
        """Remember the keys of all rows that a table has here."""
        self._connection.execute(
            "INSERT OR REPLACE INTO st_pending (tbl, k, token) "
            f"SELECT ?, CAST({key_sql.logging_on_sqlite(table)} AS TEXT), ? FROM {quote(table.name)}",
            (table.name, token),
        )

    def advance(self, position: str, changes: int) -> None:
        self._connection.execute(
            "UPDATE st_watermark SET position = ?, changes = changes + ?, applied_at = ? WHERE id = 1",
            (position, changes, time.time()),
        )
