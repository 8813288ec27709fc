"""Capture kept complete while revisions change tables and write rows in turn.

Changing a table can drop its triggers (a rebuilt table) or leave them wrong (a key column with another name).
The triggers can also make SQLite refuse the change (a column that a trigger reads). So capture stands
whenever rows are written, and may be away while the schema changes. Before a statement that writes rows, all
that has come off is put back in the same transaction.

The few rows that no trigger can see are in tables that were renamed or were filled as they were made. Those
tables are logged whole.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa
from sqlalchemy import event

from app.db.common.errors import SchemaDrift
from app.db.rows import key_sql
from app.db.rows.catalog import Schema, Table, literal, postgres_keys, quote, sqlite_keys
from app.db.sides.capture import triggers as capture
from app.db.sides.capture.foreign import OURS_ON_SQLITE
from app.db.sides.capture.inventory import check_postgres_inventory

_REBUILT = "_alembic_tmp_"  # the name under which Alembic's batch mode builds a table anew
_LEAD = r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*"
_CHANGES_TABLES = re.compile(_LEAD + r"(?:CREATE|ALTER|DROP|DO)\b", re.I | re.S)
_WRITES_ROWS = re.compile(_LEAD + r"(?:INSERT|UPDATE|DELETE|REPLACE|MERGE|WITH|TRUNCATE|COPY)\b", re.I | re.S)
_RENAMES = re.compile(
    _LEAD + r"ALTER\s+TABLE\s+[\"`\[]?(.+?)[\"`\]]?\s+RENAME\s+TO\s+[\"`\[]?(.+?)[\"`\]]?[\s;]*", re.I | re.S
)
_OF_ALEMBIC = re.compile(rf'\b(?:INTO|UPDATE|FROM)\s+"?(?:{_REBUILT}|alembic_version\b)', re.I)


class Capture(Protocol):
    """Capture on one side, within the transaction of a migration."""

    def suspend(self) -> None:
        """Take away what may be in the way of a change of tables."""

    def restore(self) -> None:
        """Put back what is missing or does not fit its table any more."""


def keep(connection: sa.Connection, capture_of_side: Capture) -> dict[str, bool]:
    """From now on suspend and restore capture around what is executed on this connection.

    Returns:
        The names that tables are given, and whether batch mode gave it: then the rows are those it had. The names
        are added as it happens.
    """
    changed = False
    given: dict[str, bool] = {}

    def before(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal changed
        if _CHANGES_TABLES.match(statement):
            if not changed:
                capture_of_side.suspend()
            changed = True
            if renames := _RENAMES.fullmatch(statement):
                given[renames[2].replace('""', '"')] = renames[1].startswith(_REBUILT)
        elif changed and _WRITES_ROWS.match(statement) and not _OF_ALEMBIC.search(statement):
            capture_of_side.restore()
            changed = False

    event.listen(connection, "before_cursor_execute", before)
    return given


def with_keys(schema: Schema) -> Schema:
    """The tables that can be captured: with a primary key, and not one that is being rebuilt."""
    return {name: t for name, t in schema.items() if t.key and not name.startswith(_REBUILT)}


def require_keys(schema: Schema) -> None:
    """Refuse tables that cannot be captured.

    Raises:
        SchemaDrift: a table has no primary key.
    """
    without = sorted(name for name, table in schema.items() if not table.key)
    if without:
        raise SchemaDrift(
            f"table {without[0]} has no primary key, so its changes cannot be carried to the other side",
            hint="give it one in the same revision, or drop it there if it is a copy that is done with",
        )


class SqliteCapture:
    """Capture on SQLite.

    Args:
        connection: the migrating one, inside its transaction.
        message: what the fence says.
    """

    def __init__(self, connection: sqlite3.Connection, message: str) -> None:
        self._connection = connection
        self._message = message

    def suspend(self) -> None:
        names = self._connection.execute(
            f"SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'st_capture_*' AND {OURS_ON_SQLITE}"
        ).fetchall()
        for (name,) in names:
            self._connection.execute(f"DROP TRIGGER {quote(name)}")

    def restore(self) -> None:
        capture.install_sqlite(self._connection, with_keys(sqlite_keys(self._connection)), self._message)


class PostgresCapture:
    """Capture on PostgreSQL, where triggers stand in nobody's way; only what is wrong is touched.

    Args:
        connection: the migrating one, inside its transaction.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def suspend(self) -> None:
        """Nothing is in the way."""

    def restore(self) -> None:
        schema = with_keys(postgres_keys(self._connection))
        wrong = {name: table for name, table in schema.items() if not self._is_captured(table)}
        if wrong:
            capture.install_postgres(self._connection, wrong)
        self._drop_functions_but(schema)

    def _is_captured(self, table: Table) -> bool:
        try:
            check_postgres_inventory(self._connection, {table.name: table})
        except SchemaDrift:
            return False
        row = self._connection.execute(
            "SELECT prosrc FROM pg_proc WHERE proname = %s AND pronamespace = current_schema()::regnamespace",
            (capture.postgres_function(table),),
        ).fetchone()
        logged = f"SELECT {literal(table.name)}, {key_sql.logging_on_postgres(table)} FROM st_new"
        return row is not None and logged in row[0]

    def _drop_functions_but(self, schema: Schema) -> None:
        """Functions of tables that are gone or have another name now; no trigger calls them any more."""
        rows = self._connection.execute(
            "SELECT proname, oid::regprocedure::text FROM pg_proc f "
            "WHERE proname LIKE 'st\\_capture\\_%' AND prosrc LIKE '%st\\_admit()%' AND pronamespace = current_schema()::regnamespace "
            "AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = f.oid)"
        ).fetchall()
        wanted = {capture.postgres_function(table) for table in schema.values()}
        for name, signature in rows:
            if name not in wanted:
                self._connection.execute(f"DROP FUNCTION {signature}".encode())
