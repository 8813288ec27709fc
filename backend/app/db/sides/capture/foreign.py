"""Triggers that are not ours, on either side: they fire for the writes of apply as well and change rows twice.

Ours are told by name and by what they do. A trigger of the application may have a name that begins like
one of ours.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg

from app.db.rows.catalog import takes_part

# Every SQLite trigger of ours writes the log, guards it, or is the permanent fence of a retired file.
OURS_ON_SQLITE = (
    "((name GLOB 'st_capture_*' AND sql LIKE '%INSERT INTO st_change_log (tbl, k, at)%') "
    "OR (name = 'st_fence' AND tbl_name = 'st_change_log') "
    "OR (name GLOB 'st_retired_*' AND sql LIKE '%RAISE(ABORT, ''sqlite takes no application writes%'))"
)
# Of a trigger t with the function p.
OURS_ON_POSTGRES = (
    "(t.tgname ~ '^st_(capture_(insert|update|delete|truncate)|fence|retired)$' "
    "AND p.proname ~ '^st_(capture_.*|fence|retired)$' AND p.prosrc ~ 'st_admit\\(\\)|takes no application writes')"
)
_ON_POSTGRES = f"""
SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal AND t.tgenabled <> 'D'
AND NOT {OURS_ON_POSTGRES}
ORDER BY c.relname, t.tgname
"""


def sqlite_triggers_of_others(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The application's own triggers on tables that take part: (name, table)."""
    rows = connection.execute(
        f"SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND NOT {OURS_ON_SQLITE} "
        "AND tbl_name NOT IN (SELECT name FROM sqlite_master WHERE type = 'view') ORDER BY tbl_name, name"
    ).fetchall()
    return [(name, table) for name, table in rows if takes_part(table)]


def postgres_triggers_of_others(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """The same on PostgreSQL, without those that are disabled."""
    return [row for row in connection.execute(_ON_POSTGRES.encode()).fetchall() if takes_part(row[1])]
