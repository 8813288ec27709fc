"""Key ranges of the tables, each of which can be copied independently of the others."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg

from app.db.rows import key_sql, keys
from app.db.rows.catalog import Schema, Table, quote

RANGE_ROWS = 50_000  # a chunk each, so that workers take them in the order of the key


def plan_ranges(connection: psycopg.Connection[object], sqlite: sqlite3.Connection, schema: Schema) -> None:
    """Cut every table into key ranges that can be copied independently, in the caller's transaction."""
    connection.execute("DELETE FROM st_copy_range")
    for table in schema.values():
        (rows,) = sqlite.execute(f"SELECT count(*) FROM {quote(table.name)}").fetchone()
        for n, (after, upto) in enumerate(
            _cuts(sqlite, table.name, table.key_names[0], rows, table.integer_key)
        ):
            connection.execute(
                "INSERT INTO st_copy_range (tbl, n, after, upto, cursor, expected) VALUES (%s, %s, %s, %s, %s, %s)",
                (table.name, n, after, upto, after, rows if n == 0 else 0),
            )


def _cuts(
    sqlite: sqlite3.Connection, table: str, key: str, rows: int, integer: bool
) -> list[tuple[str | None, str | None]]:
    """Exclusive lower and inclusive upper bounds, as JSON lists. None is open."""
    parts = rows // RANGE_ROWS
    if not integer or parts < 2:
        return [(None, None)]
    # Other values in the key are set aside while they are copied; they cut nothing.
    low, high = sqlite.execute(
        f"SELECT min({quote(key)}), max({quote(key)}) FROM {quote(table)} WHERE typeof({quote(key)}) = 'integer'"
    ).fetchone()
    if low is None:
        return [(None, None)]
    bounds = [keys.to_bound([low + (high - low) * n // parts]) for n in range(1, parts)]
    return list(zip([None, *bounds], [*bounds, None], strict=True))


def ends(*bounds: str | None) -> list[tuple[Any, ...] | None]:
    """The keys that bookkeeping's bounds stand for."""
    return [None if bound is None else keys.from_bound(bound) for bound in bounds]


def range_on_sqlite(table: Table, after: str | None, upto: str | None) -> tuple[str, tuple[Any, ...]]:
    """WHERE clause and parameters of a range. The first one takes the rows with a NULL in the key."""
    where, parameters = key_sql.range_on_sqlite(table, *ends(after, upto), nulls_first=True)
    return where, tuple(parameters)
