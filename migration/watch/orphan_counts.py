"""Foreign keys that do not hold, with how many rows have lost their parent; within a time limit.

While SQLite is primary its own check counts them: they will stay NOT VALID after the cutover. While
PostgreSQL is primary its catalog says which keys are not valid, and a query counts each.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from typing import Any

import psycopg
from psycopg import errors as pg_errors

from app.db.common.urls import Side
from app.db.rows.catalog import quote, takes_part
from app.db.sides.stores import Stores

LIMIT_S = 3.0
_NOT_VALID = """
SELECT c.conname, t.relname, p.relname,
  ARRAY(SELECT a.attname FROM unnest(c.conkey) WITH ORDINALITY AS k(n, i)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.i)::text[],
  ARRAY(SELECT a.attname FROM unnest(c.confkey) WITH ORDINALITY AS k(n, i)
        JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.n ORDER BY k.i)::text[]
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class p ON p.oid = c.confrelid
WHERE c.contype = 'f' AND NOT c.convalidated AND t.relnamespace = current_schema()::regnamespace
AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)
ORDER BY t.relname, c.conname
"""


def unvalidated_keys(stores: Stores) -> list[dict[str, Any]]:
    """One entry per key: table, columns, parent, orphans (None: not counted within the limit)."""
    primary = stores.directions()[0]
    if primary.side is Side.SQLITE:
        return sqlite_orphans(stores.sqlite.connection)
    return _postgres_orphans(stores.postgres.connection)


def sqlite_orphans(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Orphans per foreign key of the SQLite file."""
    deadline = time.monotonic() + LIMIT_S
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
    try:
        counts = Counter(
            (table, parent, key) for table, _, parent, key in connection.execute("PRAGMA foreign_key_check")
        )
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return []
    finally:
        connection.set_progress_handler(None, 0)
    return [
        {"table": table, "columns": _columns(connection, table, key), "parent": parent, "orphans": orphans}
        for (table, parent, key), orphans in sorted(counts.items())
        if takes_part(table)
    ]


def _columns(connection: sqlite3.Connection, table: str, key: int) -> str:
    rows = connection.execute(f"PRAGMA foreign_key_list({quote(table)})").fetchall()
    return ", ".join(row[3] for row in rows if row[0] == key)


def _postgres_orphans(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    return [
        {
            "table": table,
            "columns": ", ".join(columns),
            "parent": parent,
            "orphans": _count(connection, table, columns, parent, referenced),
        }
        for _, table, parent, columns, referenced in connection.execute(_NOT_VALID.encode()).fetchall()
    ]


def _count(
    connection: psycopg.Connection[Any], table: str, columns: list[str], parent: str, referenced: list[str]
) -> int | None:
    same = " AND ".join(f"p.{quote(r)} = t.{quote(c)}" for c, r in zip(columns, referenced, strict=True))
    filled = " AND ".join(f"t.{quote(c)} IS NOT NULL" for c in columns)
    try:
        with connection.transaction():
            connection.execute(f"SET LOCAL statement_timeout = '{int(LIMIT_S * 1000)}ms'".encode())
            row = connection.execute(
                f"SELECT count(*) FROM {quote(table)} t WHERE {filled} "
                f"AND NOT EXISTS (SELECT 1 FROM {quote(parent)} p WHERE {same})".encode()
            ).fetchone()
    except pg_errors.QueryCanceled:
        return None
    return int(row[0]) if row else 0
