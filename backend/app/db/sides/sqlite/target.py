"""Writing SQLite as the shadow: rows in the form in which the application stores them.

What SQLite cannot hold is not written here. It is collected with its reason, and the applier writes it to the
quarantine, which stands on PostgreSQL, before this transaction commits.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from app.db.common.errors import UnsupportedValue
from app.db.common.urls import Side
from app.db.rows import key_sql, keys
from app.db.rows.catalog import Column, Row, Table, quote
from app.db.rows.keys import Key, RawKey
from app.db.rows.kinds import SPELLINGS, Kind
from app.db.rows.policy import active_policy, encode_cell
from app.db.rows.refused import Held, Rejected, Unsettled, altered, living_only_on, rows_with_keys
from app.db.rows.spelling import to_sqlite, to_sqlite_column
from app.db.sides.contract import number_of
from app.db.sides.control import sqlite_control
from app.db.sides.sqlite.connection import ROW_ERRORS, is_utf8, marks_copies, stream
from app.db.sides.sqlite.source import SqliteSource

_NUMBERS = (Kind.FLOAT, Kind.REAL, Kind.NUMERIC)


def decode_rows(table: Table, rows: Sequence[Row]) -> tuple[list[Sequence[Any]], list[Rejected]]:
    """Rows as PostgreSQL's reader yields them, as columns that SQLite stores; those that have no form come apart.

    Returns:
        The columns of the good rows, and the refused rows.
    """
    refused: dict[int, UnsupportedValue] = {}
    columns: list[Sequence[Any]] = []
    for column, values in zip(table.columns, zip(*rows, strict=True), strict=True):
        try:
            stored = to_sqlite_column(column.kind, values, column.spelling, column.name, column.affinity)
        except UnsupportedValue:
            stored = []
            for n, value in enumerate(values):
                try:
                    stored.append(
                        to_sqlite(column.kind, value, column.spelling, column.name, column.affinity)
                    )
                except UnsupportedValue as error:
                    stored.append(None)
                    refused.setdefault(n, UnsupportedValue(column.name, error.reason))
        columns.append(stored)
        for n, refusal in altered(table, column, stored).items():
            refused.setdefault(n, refusal)
    if not refused:
        return columns, []
    rejected = [Rejected(table, rows[n], error.column, error.reason) for n, error in sorted(refused.items())]
    return [[value for n, value in enumerate(column) if n not in refused] for column in columns], rejected


class SqliteTarget:
    """One write transaction of the applier on SQLite.

    Args:
        reader: makes a source on the connection.
        careful: write every row by itself, to repeat a round that failed. So a row which SQLite refuses (a
            NOT NULL, a CHECK, a unique key) is set aside alone.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        reader: Callable[[sqlite3.Connection], SqliteSource],
        *,
        careful: bool = False,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self.careful = careful
        self.unsettled = Unsettled()
        self._held: Held = {}
        # Rows of tables with mixed spellings, until their new rows come.
        self._old: dict[tuple[str, Key], Row] = {}
        self.control = sqlite_control(connection)
        self.marks = marks_copies(connection)
        self.position: str
        self.mark: str | None
        self.position, self.mark = connection.execute(
            f"SELECT position, {'mark' if self.marks else 'NULL'} FROM st_watermark WHERE id = 1"
        ).fetchone()

    is_clean = False  # small rounds go to PostgreSQL only
    recalls = True

    def recall(self, held: Held) -> None:
        """Learn what stands in quarantine: rows that only SQLite holds stay as they are."""
        self._held = held

    def shed_foreign_keys(self) -> int:
        """None stand in the way: the applier's connection has them off."""
        return 0

    def covers(self, position: str, end: str) -> bool:
        """Not asked: PostgreSQL's positions have no order."""
        return False

    def burst(self, entries: int) -> None:
        """Nothing to gain on a local file."""

    def announced(self) -> list[tuple[str, str, str]]:
        return self._connection.execute("SELECT tbl, k, token FROM st_pending").fetchall()

    def clear(self, table: Table) -> None:
        kept = living_only_on(Side.SQLITE, table, self._held)
        if kept:
            self._connection.executemany(
                _delete_exactly(table), [values for text, values in self._keys(table) if text not in kept]
            )
        else:
            self._connection.execute(f"DELETE FROM {quote(table.name)}")
        gone = [key for key in self._held.get(table.name, ()) if key not in kept]
        self.unsettled.released.update((table.name, key) for key in gone)

    def _keys(self, table: Table) -> list[tuple[str, tuple[Any, ...]]]:
        """Every key of a table, as bookkeeping stores it and as its values."""
        columns = ", ".join(quote(column.name) for column in table.columns)
        return [
            (keys.to_text(keys.of_row(table, row)), tuple(row[position] for position in table.key_positions))
            for rows in stream(self._connection, f"SELECT {columns} FROM {quote(table.name)}", ())
            for row in rows
        ]

    def delete(self, table: Table, raws: Sequence[RawKey]) -> None:
        if held := self._held.get(table.name):
            kept = living_only_on(Side.SQLITE, table, self._held)
            texts = [(raw, keys.text_of(table, raw)) for raw in raws]
            raws = [raw for raw, text in texts if text not in kept]
            self.unsettled.released.update(
                (table.name, text) for _, text in texts if text in held and text not in kept
            )
        self._delete(table, raws)

    def _delete(self, table: Table, raws: Sequence[RawKey]) -> None:
        self._keep_spellings(table, raws)
        self._connection.executemany(
            f"DELETE FROM {quote(table.name)} WHERE {key_sql.match_on_sqlite(table)}",
            [keys.matching_on_sqlite(table, raw) for raw in raws],
        )

    def _keep_spellings(self, table: Table, raws: Sequence[RawKey]) -> None:
        """Remember how the rows are spelt that are about to be replaced, where values may keep their own form."""
        if not any(_keeps(table, column) for column in table.columns):
            return
        thorough = any(map(_is_mixed, table.key))
        for row in self._reader(self._connection).rows_of(table, raws, thorough=thorough):
            self._old[table.name, keys.of_row(table, row)] = row
            if thorough:  # under a spelling that nobody looks for it would stand there twice
                self._connection.execute(
                    _delete_exactly(table), [row[position] for position in table.key_positions]
                )

    def replace(self, table: Table, raws: Sequence[RawKey], rows: list[Row]) -> int:
        self.delete(table, raws)
        return self.insert(table, [rows] if rows else [])

    def insert(self, table: Table, rows: Iterable[list[Row]]) -> int:
        """Insert rows.

        Raises:
            ApplyFailed: PostgreSQL holds a value that has no canonical form.
        """
        before = len(self.unsettled.refused)
        for batch in filter(None, rows):
            self._make_way(table, batch)
            if self.careful:
                self.unsettled.refused += self._one_by_one(table, batch)
                continue
            stored, rejected = decode_rows(table, batch)
            self.unsettled.refused += rejected
            self._write(table, zip(*stored, strict=True))
        return len(self.unsettled.refused) - before

    def _make_way(self, table: Table, rows: Sequence[Row]) -> None:
        """Rows that only SQLite holds give way to rows of the primary."""
        if kept := living_only_on(Side.SQLITE, table, self._held):
            coming = rows_with_keys(table, rows, kept)
            self._delete(table, [keys.logged(table, key) for key in coming])
            self.unsettled.released.update((table.name, keys.to_text(key)) for key in coming)

    def _one_by_one(self, table: Table, rows: Sequence[Row]) -> Iterator[Rejected]:
        """Write rows each by itself. Yields those that SQLite itself refuses, whose statement leaves no trace."""
        for row in rows:
            stored, rejected = decode_rows(table, [row])
            yield from rejected
            if rejected:
                continue
            try:
                self._write(table, zip(*stored, strict=True))
            except ROW_ERRORS as error:
                yield Rejected(table, row, _refusing_column(table, str(error)), str(error))

    def _write(self, table: Table, rows: Iterable[Row]) -> None:
        """Insert rows, with the spelling that their unchanged values had.

        Such a value may be a text that is not UTF-8. It goes as bytes, of which SQLite makes that text.
        """
        if not self._old:
            self._connection.executemany(_insertion(table), rows)
            return
        plain = []
        for row in rows:
            old = self._old.get((table.name, keys.of_row(table, row)))
            if old is None:
                plain.append(row)
                continue
            row = tuple(_kept(table, *cell) for cell in zip(table.columns, old, row, strict=True))
            odd = [type(value) is str and not is_utf8(value) for value in row]
            if any(odd):
                bound = [
                    value.encode("utf-8", "surrogateescape") if bad else value
                    for value, bad in zip(row, odd, strict=True)
                ]
                self._connection.execute(_insertion(table, odd), bound)
            else:
                plain.append(row)
        self._connection.executemany(_insertion(table), plain)

    def forget_announced(self, texts: dict[str, list[str]]) -> None:
        for table, of_table in texts.items():
            self._connection.executemany(
                "DELETE FROM st_pending WHERE tbl = ? AND k = ?", [(table, key) for key in of_table]
            )

    def announce(self, table: Table, raws: Sequence[RawKey], token: str) -> None:
        """Remember keys that strict mode writes here before the primary commits them."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO st_pending (tbl, k, token) VALUES (?, ?, ?)",
            [(table.name, keys.announced(raw), token) for raw in raws],
        )

    def announce_all(self, table: Table, token: str) -> None:
        """Remember the keys of all rows that a table has here."""
        self._connection.execute(
            "INSERT OR REPLACE INTO st_pending (tbl, k, token) "
            f"SELECT ?, {key_sql.announcing_on_sqlite(table)}, ? FROM {quote(table.name)}",
            (table.name, token),
        )

    def advance(self, position: str, changes: int, mark: str | None = None) -> None:
        # A transaction that was long may have entries with lower numbers than those applied before.
        self.mark = max(filter(None, (self.mark, mark)), key=number_of, default=None)
        self._connection.execute(
            f"UPDATE st_watermark SET position = ?, changes = changes + ?, applied_at = ?{', mark = ?' if self.marks else ''} WHERE id = 1",
            (position, changes, time.time(), *([self.mark] if self.marks else [])),
        )


def _insertion(table: Table, odd: Sequence[bool] = ()) -> str:
    """The INSERT of a row. `odd` says which values are bound as the bytes of a text."""
    columns = ", ".join(quote(column.name) for column in table.columns)
    marks = ["CAST(? AS TEXT)" if bad else "?" for bad in odd or [False] * len(table.columns)]
    return f"INSERT INTO {quote(table.name)} ({columns}) VALUES ({', '.join(marks)})"


def _refusing_column(table: Table, message: str) -> str:
    """The first column that SQLite's message names. '' where it names none, as for a CHECK."""
    _, _, named = message.partition(f"{table.name}.")
    name = named.partition(",")[0]
    return name if name in {column.name for column in table.columns} else ""


def _is_mixed(column: Column) -> bool:
    return SPELLINGS[column.kind] and column.spelling is not None and column.spelling.mixed


def _keeps(table: Table, column: Column) -> bool:
    """Whether an unchanged value may have another form than the one that is written.

    It is spelt so, a policy reads it, or it is a number in a column without affinity, where 5 and 5.0 differ.
    """
    unbound = column.affinity == "blob" and column.kind in _NUMBERS
    return _is_mixed(column) or unbound or bool(active_policy().conversions(table, column))


def _kept(table: Table, column: Column, old: Any, new: Any) -> Any:
    """The old value if both mean the same."""
    if (old == new and type(old) is type(new)) or old is None or not _keeps(table, column):
        return new
    try:
        return old if encode_cell(table, column, old) == encode_cell(table, column, new) else new
    except UnsupportedValue:
        return new


def _delete_exactly(table: Table) -> str:
    """Deletes the row of a key in the very spelling that is given."""
    exactly = " AND ".join(f"{quote(name)} IS ?" for name in table.key_names)
    return f"DELETE FROM {quote(table.name)} WHERE {exactly}"
