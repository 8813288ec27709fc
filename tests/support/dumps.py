"""Everything of a database as one text, to see whether a call changed anything."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import psycopg

_QUERIES = (
    "SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
    "(SELECT collname FROM pg_collation WHERE oid = a.attcollation), pg_get_expr(d.adbin, d.adrelid) "
    "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
    "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
    "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'S') ORDER BY 2, 3",
    "SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace ORDER BY 2, 3",
    "SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 2",
    "SELECT 'function', oid::regprocedure::text, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 2",
    "SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 2, 3",
    "SELECT 'type', typname FROM pg_type WHERE typnamespace = 'public'::regnamespace ORDER BY 2",
    "SELECT 'schema', nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' ORDER BY 2",
)


def postgres_dump(connection: psycopg.Connection[Any]) -> str:
    """Schema and rows of the schema `public`."""
    lines = [str(row) for query in _QUERIES for row in connection.execute(query.encode()).fetchall()]
    for (table,) in connection.execute(
        "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
    ).fetchall():
        rows = connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1".encode()).fetchall()
        lines += [f"{table}: {row}" for (row,) in rows]
    return "\n".join(lines)


def sqlite_dump(path: Path) -> str:
    """Schema, rows and journal mode of a file."""
    connection = sqlite3.connect(path)
    try:
        schema = connection.execute(
            # SQLite makes sqlite_sequence itself and lets nobody drop it.
            "SELECT type, name, sql FROM sqlite_master WHERE name <> 'sqlite_sequence' ORDER BY 1, 2"
        ).fetchall()
        rows = [
            (name, connection.execute(f'SELECT * FROM "{name}"').fetchall())
            for kind, name, sql in schema
            if kind == "table"
            and name != "sqlite_sequence"
            and not (sql or "").upper().startswith("CREATE VIRTUAL")
        ]
        return "\n".join(map(str, [connection.execute("PRAGMA journal_mode").fetchone(), *schema, *rows]))
    finally:
        connection.close()
