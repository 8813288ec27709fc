"""Reading SQLite as the primary: a position is the number of a log entry, in the order of commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from app.db.rows import key_sql, keys
from app.db.rows.catalog import Row, Table, quote
from app.db.rows.keys import RawKey
from app.db.rows.kinds import SPELLINGS, Kind
from app.db.sides.contract import Backlog, mark_of, number_of
from app.db.sides.control import sqlite_control
from app.db.sides.sqlite.connection import is_utf8, log_end, stream, trimmed_to
from app.db.sides.sqlite.files import older_file, older_shadow

_AT_ONCE = 100  # keys that are looked for in one pass over a table: SQLite limits parameters and VALUES


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
            raise older_file(f"its log ends before entry {after}, which has been applied")
        oldest = min((row[2] for row in rows), default=None)
        return Backlog(str(end), {row[0]: row[1] for row in rows}, oldest)

    def logged_tables(self, after: str) -> set[str]:
        rows = self._connection.execute("SELECT DISTINCT tbl FROM st_change_log WHERE seq > ?", (int(after),))
        return {name for (name,) in rows}

    def mark(self, position: str) -> str | None:
        row = self._connection.execute(
            "SELECT seq, at FROM st_change_log WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (int(position),)
        ).fetchone()
        return None if row is None else mark_of(*row)

    def require_mark(self, mark: str | None, applied: str | None = None) -> None:
        if applied is not None and int(applied) < (trimmed := trimmed_to(self._connection)):
            raise older_shadow(f"it lacks entries up to {trimmed} of SQLite's log, which it had by then")
        if mark is None:
            return
        number = number_of(mark)
        row = self._connection.execute("SELECT at FROM st_change_log WHERE seq = ?", (number,)).fetchone()
        if row is None:  # trimmed by an earlier version, or gone with its table
            if log_end(self._connection) < number:
                raise older_file(f"its log ends before entry {number}, which has been applied")
        elif mark_of(number, row[0]) != mark:
            raise older_file(f"entry {number} of its log is not the one that has been applied")

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

    def foresee(self, tables: Sequence[Table], after: str) -> None:
        """Nothing to gain: a question to a local file costs no wait."""

    def changed_keys(self, table: Table, after: str) -> Iterator[list[RawKey]]:
        for rows in self._stream(
            "SELECT DISTINCT k FROM st_change_log WHERE seq > ? AND tbl = ?", (int(after), table.name)
        ):
            yield [keys.findable(table, row[0]) for row in rows]

    def changed_rows(self, table: Table, after: str) -> Iterator[list[Row]]:
        yield from self._stream(_select_changed(table), (int(after), table.name))

    def rows_of(self, table: Table, raws: Sequence[RawKey], *, thorough: bool = False) -> list[Row]:
        statement = f"{_select(table)} WHERE {key_sql.match_on_sqlite(table)}"
        if thorough and any(SPELLINGS[column.kind] for column in table.key):
            return self._rows_of_any_spelling(table, raws)
        found = (self._stream(*self._asking(table, statement, raw)) for raw in raws)
        every = (row for of_key in found for rows in of_key for row in rows)
        # An update that only spells a key anew logs both spellings, and either finds the one row.
        return list({tuple(row[n] for n in table.key_positions): row for row in every}.values())

    @staticmethod
    def _asking(table: Table, statement: str, raw: RawKey) -> tuple[str, tuple[Any, ...]]:
        """The statement and its parameters for one key. A text that is not UTF-8 is bound as bytes; it stands alone."""
        if type(raw) is str and not is_utf8(raw):
            alone = f"{_select(table)} WHERE {quote(table.key[0].name)} = CAST(? AS TEXT)"
            return alone, (raw.encode("utf-8", "surrogateescape"),)
        return statement, keys.matching_on_sqlite(table, raw)

    def _rows_of_any_spelling(self, table: Table, raws: Sequence[RawKey]) -> list[Row]:
        found: list[Row] = []
        known = list(filter(None, (keys.canonical_of(table, raw) for raw in raws)))
        if any(SPELLINGS[column.kind] and column.kind is not Kind.UUID for column in table.key):
            wanted = set(known)
            every = (row for rows in self.all_rows(table) for row in rows)
            return [row for row in every if keys.of_row(table, row) in wanted]
        for start in range(0, len(known), _AT_ONCE):
            part = known[start : start + _AT_ONCE]
            values = [value for key in part for value in map(keys.part_on_sqlite, table.key, key)]
            statement = f"{_select(table)} WHERE {key_sql.same_uuids(table, len(part))}"
            found += [row for rows in self._stream(statement, tuple(values)) for row in rows]
        return found

    def count(self, table: Table) -> int:
        row = self._connection.execute(f"SELECT count(*) FROM {quote(table.name)}").fetchone()
        return int(row[0])

    def has_ended(self, token: str) -> bool:
        """A token is the last log entry of its transaction. One that is beyond the log has not committed."""
        return int(token) <= log_end(self._connection)

    def all_rows(self, table: Table) -> Iterator[list[Row]]:
        yield from self._stream(_select(table), ())

    def _stream(self, statement: str, parameters: tuple[Any, ...]) -> Iterator[list[Row]]:
        return stream(self._connection, statement, parameters)
