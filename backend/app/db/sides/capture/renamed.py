"""A table has another name now: what is kept under the old one goes with it.

Rows that were set aside, spellings that were learnt, and foreign keys that do not stand now are kept on PostgreSQL
under the name of their table. If they were left there, the next round would delete the rows that only one side holds,
and the switch could not make the keys. A renamed table keeps its triggers. They call the function of the old name
until capture is put back, so that function tells where a table came from.
"""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg

_DEFERRED = "st_deferred_ddl"
_KEPT = ("st_quarantine", "st_spelling", "st_copy_range", _DEFERRED)  # the copy's ranges name every table
# As PostgreSQL prints a foreign key and an index.
_NAMES_A_TABLE = """
UPDATE st_deferred_ddl SET definition = replace(replace(
  definition, ' REFERENCES ' || quote_ident(%(before)s) || '(', ' REFERENCES ' || quote_ident(%(after)s) || '('),
  format(' ON %%I.%%I ', current_schema(), %(before)s), format(' ON %%I.%%I ', current_schema(), %(after)s))
"""
_CALLED_BY = b"""
SELECT DISTINCT p.proname, c.relname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.relnamespace = current_schema()::regnamespace AND p.pronamespace = c.relnamespace
AND t.tgname LIKE 'st\\_capture\\_%%' AND p.proname = ANY(%s)
"""
_ON_THE_WAY = "\x01"  # before a name, so that two tables may change names


def function_name(table: str) -> str:
    """Name of a table's capture function, within PostgreSQL's 63 bytes."""
    name = f"st_capture_{table}"
    if len(name.encode()) <= 63:
        return name
    return f"st_capture_{hashlib.sha256(table.encode()).hexdigest()[:40]}"


def follow_renames(connection: psycopg.Connection[Any]) -> None:
    """Let what is kept about renamed tables go with them, in the caller's transaction."""
    kept = [name for name in _KEPT if _exists(connection, name)]
    told = " UNION ".join(f"SELECT tbl FROM {name}" for name in kept)
    known = [name for (name,) in connection.execute(told.encode()).fetchall()] if told else []
    if not known:
        return
    functions = {function_name(name): name for name in known}
    now = {functions[f]: table for f, table in connection.execute(_CALLED_BY, (list(functions),)).fetchall()}
    moved = {before: after for before, after in now.items() if before != after}
    if not moved:
        return
    for before, after in moved.items():
        _rename(connection, kept, before, _ON_THE_WAY + after)
    for name in kept:  # what was kept about tables that are gone
        connection.execute(f"DELETE FROM {name} WHERE tbl = ANY(%s)".encode(), (list(moved.values()),))
    for after in moved.values():
        _rename(connection, kept, _ON_THE_WAY + after, after)


def _rename(connection: psycopg.Connection[Any], kept: list[str], before: str, after: str) -> None:
    names = {"before": before, "after": after}
    for name in kept:
        connection.execute(f"UPDATE {name} SET tbl = %(after)s WHERE tbl = %(before)s".encode(), names)
    if _DEFERRED in kept:
        connection.execute(_NAMES_A_TABLE.encode(), names)


def _exists(connection: psycopg.Connection[Any], table: str) -> bool:
    return connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone() == (True,)
