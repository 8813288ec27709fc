"""What a command is about to destroy, shown before it is confirmed: rows, newest time, who is connected.

Reads only. A count that takes too long is left out. The size of a table must not keep anybody from being
asked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg_errors

from app.db.rows.catalog import postgres_columns, quote
from migration.common.plain import counted

Connection = psycopg.Connection[Any]
LIMIT_MS = 2_000  # for each table
SHOWN = 12
_TIMES = ("timestamp without time zone", "timestamp with time zone")


@dataclass(frozen=True)
class Filled:
    """A table with rows. `rows` is None if counting took too long, `newest` the latest time in any column."""

    table: str
    rows: int | None
    newest: str | None

    def __str__(self) -> str:
        rows = "rows, too many to count now" if self.rows is None else counted(self.rows, "row")
        return f"{self.table}: {rows}" + (f", newest {self.newest}" if self.newest else "")


@dataclass(frozen=True)
class Holdings:
    """What a PostgreSQL database holds and who is connected to it, as `application_name (number)`."""

    database: str
    filled: tuple[Filled, ...]
    connected: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people, the largest tables first."""
        ordered = sorted(self.filled, key=lambda table: (table.rows is not None, -(table.rows or 0)))
        more = [f"and {counted(len(ordered) - SHOWN, 'more table')}"] if len(ordered) > SHOWN else []
        who = ", ".join(self.connected) or "nobody else"
        return [*map(str, ordered[:SHOWN]), *more, f"connected to {self.database}: {who}"]


def holdings(connection: Connection, tables: Collection[str] | None = None) -> Holdings:
    """What stands in the application's tables of the database, and who is connected.

    Args:
        tables: those to look at. None for all that take part.
    """
    filled = []
    for table, columns in postgres_columns(connection).items():
        if tables is not None and table not in tables:
            continue
        if connection.execute(f"SELECT 1 FROM {quote(table)} LIMIT 1".encode()).fetchone():
            filled.append(_look(connection, table, [c[0] for c in columns if c[1] in _TIMES]))
    connected = connection.execute(
        "SELECT coalesce(nullif(application_name, ''), 'without a name') || ' (' || count(*) || ')' "
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend' GROUP BY application_name ORDER BY 1"
    ).fetchall()
    return Holdings(connection.info.dbname, tuple(filled), tuple(name for (name,) in connected))


def _look(connection: Connection, table: str, times: list[str]) -> Filled:
    newest = f"greatest({', '.join(f'max({quote(name)})' for name in times)})::text" if times else "NULL"
    try:
        with connection.transaction():
            connection.execute(f"SET LOCAL statement_timeout = '{LIMIT_MS}ms'".encode())
            row = connection.execute(f"SELECT count(*), {newest} FROM {quote(table)}".encode()).fetchone()
    except pg_errors.QueryCanceled:
        row = None
    return Filled(table, *(row or (None, None)))
