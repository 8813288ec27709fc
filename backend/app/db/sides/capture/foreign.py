"""Triggers that are not ours, on either side: they fire for the writes of apply as well and change rows twice.

Ours are told by name and by what they do. A trigger of the application may have a name that begins like
one of ours.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg

from app.db.common.urls import Side
from app.db.rows.catalog import quote, sqlite_left_out, takes_part
from app.db.sides.locks import QUIET

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
# Those that fire, rules included. A condition on what apply sets keeps one still while apply writes.
_ON_SQLITE = f"""
SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger' AND NOT {OURS_ON_SQLITE} AND sql NOT LIKE '%applying%'
AND tbl_name NOT IN (SELECT name FROM sqlite_master WHERE type = 'view') ORDER BY 1, 2
"""
_ON_POSTGRES = f"""
SELECT c.relname, t.tgname, false FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
AND NOT {OURS_ON_POSTGRES} AND pg_get_triggerdef(t.oid) NOT LIKE '%st.applying%'
UNION ALL
SELECT c.relname, r.rulename, true FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND r.ev_enabled IN ('O', 'A')
ORDER BY 1, 2
"""


_APPLYING = re.compile(
    r"\(\s*SELECT\s+applying\s+FROM\s+(?:main\s*\.\s*)?st_control\b[^()]*\)", re.IGNORECASE
)
_WRITES = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)


@dataclass(frozen=True)
class ForeignTrigger:
    """A trigger or rule of the application's own that fires while apply writes, and may change what it writes."""

    side: Side
    table: str
    name: str
    rule: bool = False

    @property
    def place(self) -> str:
        """Its name, its table and its side, as people read them."""
        side = "SQLite" if self.side is Side.SQLITE else "PostgreSQL"
        return f"{self.name} on {self.table} ({side})"

    def __str__(self) -> str:
        return f"{self.what} {self.place} fires on what apply writes; {self.remedy}"

    @property
    def what(self) -> str:
        """Trigger or rule."""
        return "rule" if self.rule else "trigger"

    @property
    def remedy(self) -> str:
        """What to do about it, on a pair that is prepared; on PostgreSQL at any time."""
        if self.rule:
            return f"DROP RULE {quote(self.name)} ON {quote(self.table)} (on PostgreSQL) for the time of the move"
        return f"create it again with WHEN ({QUIET[self.side]}), or drop it for the time of the move"


def foreign_triggers(
    sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any], tables: Collection[str]
) -> list[ForeignTrigger]:
    """The application's own triggers on some tables of either side that apply would set off."""
    found = foreign_on_sqlite(sqlite) + foreign_on_postgres(postgres)
    return [item for item in found if item.table in tables]


def foreign_on_sqlite(connection: sqlite3.Connection, without: Collection[str] = ()) -> list[ForeignTrigger]:
    """Those of SQLite, on all tables that take part.

    A trigger that writes only to tables that are left out is not listed. It keeps a full text index, for
    example, and has to fire for what apply writes, too.

    Args:
        without: tables that are going to be left out, besides those that are on record.
    """
    left_out = sqlite_left_out(connection) | set(without)
    return [
        ForeignTrigger(Side.SQLITE, table, name)
        for table, name, sql in connection.execute(_ON_SQLITE).fetchall()
        if takes_part(table)
        and table not in left_out
        and not _stays_outside(connection, table, sql, left_out)
    ]


def _stays_outside(connection: sqlite3.Connection, table: str, sql: str, left_out: Collection[str]) -> bool:
    """Whether a table's triggers write only to tables that are left out. False if one may refuse."""
    if not left_out or "RAISE" in sql.upper():
        return False
    written: set[str] = set()

    def note(action: int, target: str | None, _column: Any, _schema: Any, trigger: str | None) -> int:
        if action in _WRITES and trigger is not None and not trigger.startswith("st_") and target is not None:
            written.add(target)
        return sqlite3.SQLITE_OK

    columns = [
        name
        for _, name, *_, hidden in connection.execute(f"PRAGMA table_xinfo({quote(table)})")
        if not hidden
    ]
    same = ", ".join(f"{quote(name)} = {quote(name)}" for name in columns)
    connection.set_authorizer(note)
    try:  # compiling a statement compiles what it sets off; none is run
        connection.execute(f"EXPLAIN INSERT INTO {quote(table)} DEFAULT VALUES")
        connection.execute(f"EXPLAIN UPDATE {quote(table)} SET {same}")
        connection.execute(f"EXPLAIN DELETE FROM {quote(table)}")
    except sqlite3.Error:
        return False
    finally:
        connection.set_authorizer(None)
    return bool(written) and written <= set(left_out)


def release_sqlite(connection: sqlite3.Connection) -> None:
    """Take the condition on `applying` from triggers of the application's own, in the caller's write transaction.

    It reads a table of ours: without it every write that sets such a trigger off would fail.
    """
    for name, sql in connection.execute(
        f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND NOT {OURS_ON_SQLITE} ORDER BY name"
    ).fetchall():
        if (released := _APPLYING.sub("0", sql)) != sql:
            connection.execute(f"DROP TRIGGER {quote(name)}")
            connection.execute(released)


def foreign_on_postgres(connection: psycopg.Connection[Any]) -> list[ForeignTrigger]:
    """Those of PostgreSQL, on all tables that take part."""
    rows = connection.execute(_ON_POSTGRES.encode()).fetchall()
    return [ForeignTrigger(Side.POSTGRES, *row) for row in rows if takes_part(row[0])]
