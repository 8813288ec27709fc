"""What the databases hold, read without the core: the oracle must not share the core's ideas of equality.

Both readers give plain Python values per column; floats are compared by their bits.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from tests.support.shapes import TABLES, ident

Key = tuple[Any, ...]
Contents = dict[str, dict[Key, tuple[Any, ...]]]

# Columns whose two storage forms differ, by name: SQLite's text or number to what psycopg hands out.
_FROM_SQLITE: Mapping[str, Any] = {
    "b": bool,
    "ts": datetime.fromisoformat,
    "made": datetime.fromisoformat,
    "d": date.fromisoformat,
    "tm": time.fromisoformat,
    "num": lambda value: Decimal(repr(value) if isinstance(value, float) else value).normalize(),
}
_FROM_POSTGRES: Mapping[str, Any] = {"num": lambda value: value.normalize()}
_IN_TABLE: Mapping[tuple[str, str], Any] = {("token", "id"): UUID, ("kinds", "u"): UUID}


def _exact(value: Any) -> Any:
    return ("float", struct.pack(">d", value + 0.0)) if isinstance(value, float) else value


def _sqlite_value(table: str, column: str, value: Any) -> Any:
    if value is None:
        return None
    if table in ("item", "kinds") and column in _FROM_SQLITE:
        return _FROM_SQLITE[column](value)
    change = _IN_TABLE.get((table, column))
    return change(value) if change else _exact(value)


def _postgres_value(table: str, column: str, value: Any) -> Any:
    if value is None:
        return None
    if table == "kinds" and column in _FROM_POSTGRES:
        return _FROM_POSTGRES[column](value)
    return _exact(value)


def _collect(table: str, rows: list[Any], change: Any) -> dict[Key, tuple[Any, ...]]:
    key, columns = TABLES[table]
    found = {}
    for row in rows:
        values = tuple(change(table, column, value) for column, value in zip(columns, row, strict=True))
        found[tuple(values[columns.index(name)] for name in key)] = values
    assert len(found) == len(rows), f"{table} holds a key twice: {sorted(map(repr, rows))}"
    return found


def _select(table: str, *, json_as_text: bool = False) -> str:
    names = [
        f"{ident(name)}::text" if json_as_text and (table, name) == ("kinds", "j") else ident(name)
        for name in TABLES[table][1]
    ]
    return f"SELECT {', '.join(names)} FROM {ident(table)}"


def sqlite_contents(connection: sqlite3.Connection) -> Contents:
    """Every row of every table of the SQLite file, as one state."""
    connection.execute("BEGIN")
    try:
        return {
            table: _collect(table, connection.execute(_select(table)).fetchall(), _sqlite_value)
            for table in TABLES
        }
    finally:
        connection.execute("ROLLBACK")


def postgres_contents(connection: psycopg.Connection[Any]) -> Contents:
    """Every row of every table of the PostgreSQL database, as one state."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return {
            table: _collect(
                table,
                connection.execute(_select(table, json_as_text=True).encode()).fetchall(),
                _postgres_value,
            )
            for table in TABLES
        }


def difference(ours: Contents, theirs: Contents) -> dict[str, dict[Key, tuple[Any, Any]]]:
    """Per table, the keys at which two states differ, with both rows."""
    found = {}
    for table in TABLES:
        keys = [
            key
            for key in ours[table].keys() | theirs[table].keys()
            if ours[table].get(key) != theirs[table].get(key)
        ]
        if keys:
            found[table] = {key: (ours[table].get(key), theirs[table].get(key)) for key in keys}
    return found


# What a database is made of, as text, to see whether a call changed anything.
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
