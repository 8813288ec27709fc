"""What the databases hold, read without the core: the oracle must not share the core's ideas of equality.

Both readers give plain Python values per column; floats are compared by their bits.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
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
