"""The rows of one chunk on their way from SQLite into one COPY.

Where several processes copy, rows are read and encoded ahead of the COPY, as far as AHEAD_BYTES go. So all of
them read and encode at the same time and yet write one after the other, in the order of the key. The table on
PostgreSQL is laid out in that order. Its indexes are built from sorted rows, in half the time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from app.db.rows.catalog import Row, Table, quote
from app.db.rows.refused import Rejected
from app.db.sides.postgres.target import PostgresTarget, copy_text, encode_rows
from app.db.sides.sqlite.connection import stream
from migration.fill.binary import SIGNATURE, TRAILER, encode_binary, supports

FETCH = 1_000  # rows that are encoded at once: their objects fit the processor's cache
SHORT = 4_096  # bytes of a value up to which so many rows may be taken at once
AHEAD_BYTES = 8_000_000

Encoded = tuple[bytes | bytearray, int, list[Rejected]]


def read(connection: sqlite3.Connection, statement: str, parameters: tuple[Any, ...]) -> Iterator[list[Row]]:
    """Rows of a query in lists, fast for as long as they are short and their texts UTF-8.

    SQLite itself stops at a longer value, before it is in memory; `stream` then takes over.
    """
    done = 0
    usual = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, SHORT)
    try:
        cursor = connection.execute(statement, parameters)
        while rows := cursor.fetchmany(FETCH):
            yield rows
            done += len(rows)
        return
    except (sqlite3.DataError, sqlite3.OperationalError):
        pass  # whatever else was the matter will be so again
    finally:
        # A reader that was left in the middle may be closed after its connection.
        with suppress(sqlite3.ProgrammingError):
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, usual)
    for rows in stream(connection, statement, parameters):
        if len(rows) > done:
            yield rows[done:]
        done = max(0, done - len(rows))


class ChunkStream:
    """One chunk of a table, read and encoded as it is asked for, for a COPY.

    `copied` and `rejected` are complete after `write`.

    Args:
        table: the table.
        batches: its rows, not empty.
    """

    def __init__(self, table: Table, batches: Iterator[list[Row]]) -> None:
        self.copied = 0
        self.rejected: list[Rejected] = []
        self._table = table
        self._form = _BINARY if supports(table) else _TEXT
        self._pieces = self._encode(batches)
        self._ahead: list[bytes | bytearray] = []

    def read_ahead(self) -> None:
        """Encode what fits into memory."""
        size = 0
        for piece in self._pieces:
            self._ahead.append(piece)
            size += len(piece)
            if size >= AHEAD_BYTES:
                return

    def write(self, target: PostgresTarget) -> None:
        """Send everything through one COPY, and what PostgreSQL cannot hold to quarantine."""
        first = self._ahead or list(islice(self._pieces, 1))
        if first:
            names = ", ".join(quote(column.name) for column in self._table.columns)
            statement = f"COPY {quote(self._table.name)} ({names}) FROM STDIN (FORMAT {self._form.name})"
            with target.connection.cursor().copy(statement.encode()) as copy:
                for piece in chain([self._form.head], first, self._pieces, [self._form.tail]):
                    copy.write(piece)
        target.quarantine(self.rejected)

    def _encode(self, batches: Iterator[list[Row]]) -> Iterator[bytes | bytearray]:
        for batch in batches:
            encoded, count, rejected = self._form.encode(self._table, batch)
            self.rejected += rejected
            self.copied += count
            if count:
                yield encoded


def _text_rows(table: Table, rows: list[Row]) -> Encoded:
    columns, rejected = encode_rows(table, rows)
    count = len(columns[0])
    return (copy_text(columns).encode() if count else b""), count, rejected


@dataclass(frozen=True)
class _Form:
    """A format of COPY: what stands before and after the rows, and how rows are written."""

    name: str
    head: bytes
    tail: bytes
    encode: Callable[[Table, list[Row]], Encoded]


_TEXT = _Form("text", b"", b"", _text_rows)
_BINARY = _Form("binary", SIGNATURE, TRAILER, encode_binary)
