"""The quarantine, `st_quarantine`: every statement that changes which rows stand there.

It stands on PostgreSQL for both directions. `side` names the side that holds the row. A pair that an earlier
version prepared has no such column, and its rows are SQLite's. The first row of PostgreSQL that is set aside
adds the column. Until then nothing here needs it.

A row that is judged anew and refused with the same content stays accepted, if it was. The operator has seen
exactly this row.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from psycopg import errors as pg_errors

from app.db.common.errors import NotPrepared
from app.db.common.urls import Side
from app.db.rows import keys
from app.db.rows.catalog import Table, quote, quote_with_parameters
from app.db.rows.key_sql import logging_on_postgres, match_on_postgres
from app.db.rows.refused import Held, Rejected, content_of
from app.db.sides.postgres.connection import Connection
from app.db.sides.tables import ADD_SIDE

# The side that holds a row, for a table with or without the column.
SIDE = "coalesce(to_jsonb(q) ->> 'side', 'sqlite')"
_HAS_SIDE = (
    "SELECT 1 FROM pg_attribute WHERE attrelid = 'st_quarantine'::regclass AND attname = 'side' "
    "AND NOT attisdropped"
)


def held(connection: Connection) -> Held:
    """Everything that stands in quarantine."""
    found: dict[str, dict[str, Side]] = {}
    rows = connection.execute(f"SELECT q.tbl, q.k, {SIDE} FROM st_quarantine q".encode()).fetchall()
    for table, key, side in rows:
        found.setdefault(table, {})[key] = Side(side)
    return found


def delete_by_text(
    connection: Connection, table: Table, texts: Collection[str], *, others: bool = False
) -> None:
    """Delete the rows whose keys bookkeeping stores as these texts, or all others.

    Each key is read: a key that only PostgreSQL can hold has no canonical form to ask for.
    """
    statement = f"SELECT ctid::text, {logging_on_postgres(table)} FROM {quote(table.name)}"
    rows = connection.execute(statement.encode()).fetchall()
    raws = keys.typed(table, [raw for _, raw in rows])
    places = [place for (place, _), raw in zip(rows, raws, strict=True) if keys.text_of(table, raw) in texts]
    among = "NOT IN" if others else "IN"
    statement = (
        f"DELETE FROM {quote_with_parameters(table.name)} WHERE ctid {among} (SELECT unnest(%s::tid[]))"
    )
    connection.execute(statement.encode(), [places])


def has_key_of(connection: Connection, table: Table, columns: Sequence[Sequence[str | None]]) -> bool:
    """Whether the table has a row with the key of this one, which is given as columns."""
    statement = f"SELECT FROM {quote_with_parameters(table.name)} WHERE {match_on_postgres(table)}"
    key = [columns[position][0] for position in table.key_positions]
    return connection.execute(statement.encode(), key).fetchone() is not None


class Quarantine:
    """Changes to the quarantine within one transaction of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._accepted: dict[tuple[str, str], tuple[Any, ...]] = {}

    def release(self, table: str, keys: Sequence[str]) -> None:
        """Take the entries of some keys away; their rows are judged anew."""
        self._remember(
            "DELETE FROM st_quarantine WHERE tbl = %s AND k = ANY(%s::text[]) "
            "RETURNING tbl, k, content, accepted_by, accepted_at",
            (table, list(keys)),
        )

    def release_all(self, table: str, but: Sequence[str] = ()) -> None:
        """Take all entries of a table away, but for some keys."""
        self._remember(
            "DELETE FROM st_quarantine WHERE tbl = %s AND NOT k = ANY(%s::text[]) "
            "RETURNING tbl, k, content, accepted_by, accepted_at",
            (table, list(but)),
        )

    def _remember(self, statement: str, parameters: tuple[Any, ...]) -> None:
        for table, key, *acceptance in self._connection.execute(statement.encode(), parameters).fetchall():
            if acceptance[1] is not None:
                self._accepted[table, key] = tuple(acceptance)

    def put(self, holder: Side, rejected: Sequence[Rejected]) -> None:
        """Keep refused rows of one side, with their exact content and the reason."""
        if rejected and holder is Side.POSTGRES:
            self._add_side()
        for item in rejected:
            name, key, content = item.table.name, item.key_text(), content_of(item)
            before = self._accepted.get((name, key), (None, None, None))
            accepted = before[1:] if before[0] == content else (None, None)
            self._connection.execute("DELETE FROM st_quarantine WHERE tbl = %s AND k = %s", (name, key))
            self._connection.execute(
                "INSERT INTO st_quarantine (tbl, k, col, reason, content, at, accepted_by, accepted_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                (name, key, item.column, item.reason, content, time.time(), *accepted),
            )
            if holder is Side.POSTGRES:
                self._connection.execute(
                    "UPDATE st_quarantine SET side = 'postgres' WHERE tbl = %s AND k = %s", (name, key)
                )

    def _add_side(self) -> None:
        if self._connection.execute(_HAS_SIDE.encode()).fetchone() is None:
            try:
                self._connection.execute(ADD_SIDE.encode())
            except pg_errors.InsufficientPrivilege as error:
                raise NotPrepared(
                    "an earlier version prepared this pair, and its quarantine knows one direction",
                    hint="run st-migrate prepare again, as the role that owns the tables",
                ) from error
