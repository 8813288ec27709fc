"""Reading SQLite as the primary: a position is the number of a log entry, in the order of commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from app.db.common.errors import NotPrepared
from app.db.rows import key_sql, keys
from app.db.rows.catalog import Row, Table, quote
from app.db.rows.keys import RawKey
from app.db.sides.contract import Backlog
from app.db.sides.control import sqlite_control
from app.db.sides.sqlite.connection import log_end, stream


class Entry(NamedTuple):
    """One entry of the log; `at` is its time in seconds since 1970."""

    seq: int
    table: str
    key: RawKey
    at: float


@cache
def _select(table: Table) -> str:
    return f"SELECT {', '.join(quote(column.name) for column in table.columns)} FROM {quote(table.name)}"


@cache
def _select_changed(table: Table) -> str:
    return (
        f"{_select(table)} WHERE {key_sql.in_list(table)} IN "
        f"(SELECT {key_sql.logged_on_sqlite(table)} FROM st_change_log WHERE seq > ? AND tbl = ?)"
    )


class SqliteSource:
    """One read transaction on SQLite."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.control = sqlite_control(connection)

    def backlog(self, after: str) -> Backlog:
        rows = self._connection.execute(
            "SELECT tbl, count(*), min(at) FROM st_change_log WHERE seq > ? GROUP BY tbl",
            (int(after),),
        ).fetchall()
        end = log_end(self._connection)
        if end < int(after):
            raise NotPrepared(
                f"the SQLite file's log ends before {after}, which has been applied: an older file was put back",
                hint="run st-migrate abort, then prepare and backfill anew",
            )
        oldest = min((row[2] for row in rows), default=None)
        return Backlog(str(end), {row[0]: row[1] for row in rows}, oldest)

    def entries(self, after: str, limit: int) -> list[Entry]:
        """The next entries of the log, whole."""
        rows = self._connection.execute(
            "SELECT seq, tbl, k, at FROM st_change_log WHERE seq > ? ORDER BY seq LIMIT ?",
            (int(after), limit),
        )
        return list(map(Entry._make, rows.fetchall()))

    def log_end(self) -> str:
        """The position that covers everything in the log."""
        return str(log_end(self._connection))

    def changed_keys(self, table: Table, after: str) -> Iterator[list[RawKey]]:
        for rows in self._stream(
            "SELECT DISTINCT k FROM st_change_log WHERE seq > ? AND tbl = ?", (int(after), table.name)
        ):
            yield [keys.findable(table, row[0]) for row in rows]

    def changed_rows(self, table: Table, after: str) -> Iterator[list[Row]]:
        yield from self._stream(_select_changed(table), (int(after), table.name))

    def rows_of(self, table: Table, raws: Sequence[RawKey]) -> list[Row]:
        statement = f"{_select(table)} WHERE {key_sql.match_on_sqlite(table)}"
        found = (self._stream(statement, keys.on_sqlite(table, raw)) for raw in raws)
        return [row for of_key in found for rows in of_key for row in rows]

    def has_ended(self, token: str) -> bool:
        """A token is the last log entry of its transaction; one that is beyond the log has not committed."""
        return int(token) <= log_end(self._connection)

    def all_rows(self, table: Table) -> Iterator[list[Row]]:
        yield from self._stream(_select(table), ())

    def _stream(self, statement: str, parameters: tuple[Any, ...]) -> Iterator[list[Row]]:
        return stream(self._connection, statement, parameters)
