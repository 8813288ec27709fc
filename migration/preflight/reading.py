"""How preflight reads a file that others are writing to.

In WAL mode one read transaction shows one state and disturbs nobody. With a rollback journal an open read
keeps every writer from committing, for as long as it lasts. There no transaction is opened. A table is read
by short statements, and each of them lets go of the file. Rows that change meanwhile may then be seen before
or after their change, which is enough: verify is exact, preflight only warns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from app.db.rows.catalog import Row, Table, quote
from app.db.sides.sqlite.connection import stream

SHORT_READ = 5_000  # rows


def readers_block_writers(sqlite: sqlite3.Connection) -> bool:
    """Whether the file has a rollback journal."""
    return bool(sqlite.execute("PRAGMA journal_mode").fetchone()[0] != "wal")


@contextmanager
def one_state(sqlite: sqlite3.Connection) -> Iterator[None]:
    """Read one state of the file, where that holds up nobody."""
    if readers_block_writers(sqlite):
        yield
        return
    sqlite.execute("BEGIN")
    try:
        yield
    finally:
        sqlite.rollback()


def batches(sqlite: sqlite3.Connection, table: Table) -> Iterator[list[Row]]:
    """All rows of a table, in lists."""
    names = ", ".join(quote(column.name) for column in table.columns)
    source = f"FROM {quote(table.name)}"
    if not readers_block_writers(sqlite) or not _has_rowid(sqlite, table):
        yield from stream(sqlite, f"SELECT {names} {source}", ())
        return
    after: int | None = None
    while True:
        beyond, parameters = ("", ()) if after is None else ("WHERE rowid > ? ", (after,))
        statement = f"SELECT {names}, rowid {source} {beyond}ORDER BY rowid LIMIT {SHORT_READ}"
        rows = [row for batch in stream(sqlite, statement, parameters) for row in batch]
        if rows:
            after = rows[-1][-1]
            yield [tuple(row[:-1]) for row in rows]
        if len(rows) < SHORT_READ:
            return


def _has_rowid(sqlite: sqlite3.Connection, table: Table) -> bool:
    """Whether `rowid` names the row's own number: not in a WITHOUT ROWID table, nor behind a column."""
    if any(column.name.lower() == "rowid" for column in table.columns):
        return False
    try:
        sqlite.execute(f"SELECT rowid FROM {quote(table.name)} LIMIT 0")
    except sqlite3.OperationalError:
        return False
    return True
