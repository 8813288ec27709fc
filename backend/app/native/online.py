"""Schema changes that keep nobody waiting: each statement commits by itself and can be repeated.

A lock that others would queue behind is asked for with a short limit, and asked for again later. What reads a
whole table holds no lock that stops writers: NOT VALID first, VALIDATE then; indexes CONCURRENTLY. These wait for
transactions that are older than they are, and may do so for longer, because no writer queues behind them. An index that
a killed build, or one that waited in vain, left invalid is dropped and built anew.
"""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa
from psycopg.errors import CheckViolation, ForeignKeyViolation, LockNotAvailable
from sqlalchemy.exc import DBAPIError

from app.native.wanted import Check, Index, NotNull, OneWithout, Reference

LOCK_TIMEOUT: Final = "500ms"
PATIENCE: Final = "60s"  # of statements behind which no writer queues
TRIES: Final = 60
BUILDS: Final = 5  # of one index; each waits for `PATIENCE`
PAUSE_S: Final = 1.0


class NeverFree(RuntimeError):
    """A lock could not be had in all tries."""


def execute(connection: sa.Connection, statement: str) -> None:
    """Run one statement that commits by itself.

    Raises:
        NeverFree: its lock was not to be had; repeat the command when the long transactions are over.
    """
    for _ in range(TRIES):
        if _done(connection, statement):
            return
        time.sleep(PAUSE_S)
    raise NeverFree(f"others kept a lock for too long: {statement}")


def _done(connection: sa.Connection, statement: str) -> bool:
    """One try; False when its lock was not to be had in time."""
    waits_alone = "CONCURRENTLY" in statement or "VALIDATE CONSTRAINT" in statement
    if waits_alone:
        _wait_at_most(connection, PATIENCE)
    try:
        connection.exec_driver_sql(statement)
    except DBAPIError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        return False
    finally:
        if waits_alone:
            _wait_at_most(connection, LOCK_TIMEOUT)
    return True


def _wait_at_most(connection: sa.Connection, limit: str) -> None:
    connection.exec_driver_sql("SELECT set_config('lock_timeout', %s, false)", (limit,))


def add_check(connection: sa.Connection, check: Check) -> None:
    """Add it for new rows, then check the rows that are there."""
    _add(connection, check.table, check.name, f"CHECK ({check.condition})")


def add_reference(connection: sa.Connection, key: Reference) -> None:
    """The same for a foreign key."""
    clause = f"FOREIGN KEY ({key.column}) REFERENCES {key.parent} (id) ON DELETE CASCADE"
    _add(connection, key.table, key.name, clause)


def validate(connection: sa.Connection, table: str, name: str) -> bool:
    """Check the rows that are there; False when some stand against it, and it goes on for new rows only."""
    try:
        execute(connection, f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
    except DBAPIError as error:
        if not isinstance(error.orig, (CheckViolation, ForeignKeyViolation)):
            raise
        return False
    return True


def set_not_null(connection: sa.Connection, column: NotNull) -> None:
    """By way of a checked condition, so that the table is not read under a lock that stops everybody."""
    if not _is_not_null(connection, column):
        _add(connection, column.table, _detour(column), f"CHECK ({column.column} IS NOT NULL)")
        execute(connection, f"ALTER TABLE {column.table} ALTER COLUMN {column.column} SET NOT NULL")
    drop_constraint(connection, column.table, _detour(column))


def drop_not_null(connection: sa.Connection, column: NotNull) -> None:
    if _is_not_null(connection, column):
        execute(connection, f"ALTER TABLE {column.table} ALTER COLUMN {column.column} DROP NOT NULL")
    drop_constraint(connection, column.table, _detour(column))


def drop_constraint(connection: sa.Connection, table: str, name: str) -> None:
    """Nothing to do, and nothing to lock, if it is not there."""
    if _has_constraint(connection, table, name):
        execute(connection, f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")


def create_index(connection: sa.Connection, index: Index | OneWithout) -> None:
    """Build it while others write; nothing to do if it is there and valid.

    Raises:
        NeverFree: a transaction that is older than the build did not end.
    """
    valid = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    for _ in range(BUILDS):
        state = connection.scalar(valid, {"name": index.name})
        if state:
            return
        if state is False:
            drop_index(connection, index.name)
        if _done(connection, index.create):
            return
    raise NeverFree(f"others kept a transaction open for too long: {index.create}")


def drop_index(connection: sa.Connection, name: str) -> None:
    execute(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _add(connection: sa.Connection, table: str, name: str, clause: str) -> None:
    if not _has_constraint(connection, table, name):
        execute(connection, f"ALTER TABLE {table} ADD CONSTRAINT {name} {clause} NOT VALID")
    validate(connection, table, name)


def _has_constraint(connection: sa.Connection, table: str, name: str) -> bool:
    query = sa.text("SELECT 1 FROM pg_constraint WHERE conname = :name AND conrelid = to_regclass(:table)")
    return connection.scalar(query, {"name": name, "table": table}) is not None


def _is_not_null(connection: sa.Connection, column: NotNull) -> bool:
    query = sa.text(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = :column"
    )
    return bool(connection.scalar(query, {"table": column.table, "column": column.column}))


def _detour(column: NotNull) -> str:
    """The name of the condition by way of which a column becomes NOT NULL."""
    return f"nn_{column.table}_{column.column}"
