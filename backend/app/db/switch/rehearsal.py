"""What the switch will rely on, tried beforehand in transactions that are always rolled back.

The way back has to work from the first moment on. After the switch the new primary must log what is written
there. The old one must take the rows without logging them. One existing row serves as the probe. On the
future primary the row is updated to what it is, with the fence lowered inside the transaction. On the future
shadow it is deleted and inserted as apply would do it. On PostgreSQL a number of the log's sequence stays
consumed, which means nothing.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from app.db.common.errors import counted, first_line
from app.db.common.urls import Side
from app.db.rows import key_sql, keys
from app.db.rows.catalog import Row, Schema, Table, quote, quote_with_parameters
from app.db.rows.keys import RawKey
from app.db.sides.control import open_fence_postgres, open_fence_sqlite, postgres_control
from app.db.sides.locks import applying_sqlite, hold_rounds, mark_applying_postgres
from app.db.sides.postgres import deferred
from app.db.sides.postgres.connection import Connection
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.store import SqliteStore
from app.db.sides.stores import Stores

LOCK_TIMEOUT = "250ms"  # nobody may wait for a rehearsal for longer
CANDIDATES = 20
Logged = list[tuple[str, RawKey]]


@dataclass(frozen=True)
class _Probe:
    """A row that both sides have, `row` as the future primary holds it."""

    table: Table
    key: RawKey
    row: Row


def rehearse(stores: Stores, schema: Schema, to: Side) -> tuple[bool, str]:
    """Try capture on the future primary and apply on the future shadow. Says what was seen."""
    probe = _probe(stores, schema, to)
    if probe is None:
        return True, "the tables are empty, there is no row to rehearse with"
    if to is Side.POSTGRES:
        logged = _captured_postgres(stores.postgres, probe)
        leaked = _applied_sqlite(stores.sqlite, probe)
    else:
        logged = _captured_sqlite(stores.sqlite, probe)
        leaked = _applied_postgres(stores.postgres, probe)
    what = f"{probe.table.name} {probe.key}"
    if probe.key not in logged:
        return (
            False,
            f"an update of {what} on {to} left {counted(len(logged), 'log entry', 'log entries')} ({logged[:3]}), not its own",
        )
    if leaked is not None:
        return False, f"applying {what} to {to.other} {leaked}"
    return True, f"{what}: logged on {to}, applied to {to.other}"


def key_seconds(postgres: PostgresStore) -> tuple[int, float]:
    """How many foreign keys the switch will have to add, and how long that takes."""
    with _tried(postgres) as connection:
        started = time.monotonic()
        keys = deferred.add_foreign_keys(connection)
        return keys, time.monotonic() - started


@contextmanager
def _tried(postgres: PostgresStore) -> Iterator[Connection]:
    """A transaction that is rolled back, with the applier held out."""
    connection = postgres.connection
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
        hold_rounds(connection)
        yield connection


@contextmanager
def _tried_sqlite(sqlite: SqliteStore) -> Iterator[sqlite3.Connection]:
    """A write transaction that is rolled back."""
    sqlite.connection.execute("BEGIN IMMEDIATE")
    try:
        yield sqlite.connection
    finally:
        sqlite.connection.rollback()


def _probe(stores: Stores, schema: Schema, to: Side) -> _Probe | None:
    """A row that both sides have now, in a table that no foreign key refers to where there is one."""
    ours, theirs = stores.sqlite.reader(), stores.postgres.reader()
    here, there = (theirs, ours) if to is Side.POSTGRES else (ours, theirs)
    standing = _foreign_keys(stores.postgres.connection)
    referred = [key.referred for key in standing]
    touched = referred + [key.table for key in standing]

    def in_the_way(table: Table) -> tuple[int, int]:
        return referred.count(table.name), touched.count(table.name)

    for table in sorted(schema.values(), key=in_the_way):
        for key in _some_keys(stores, table, to):
            if (rows := here.rows_of(table, [key])) and there.rows_of(table, [key]):
                return _Probe(table, key, rows[0])
    return None


def _some_keys(stores: Stores, table: Table, side: Side) -> list[RawKey]:
    """A few keys of a table as this side's triggers log them."""
    some = f"FROM {quote(table.name)} LIMIT {CANDIDATES}"
    if side is Side.SQLITE:
        query = f"SELECT {key_sql.logging_on_sqlite(table)} {some}"
        return [row[0] for row in stores.sqlite.connection.execute(query)]
    query = f"SELECT {key_sql.logging_on_postgres(table)} {some}"
    return keys.typed(table, [row[0] for row in stores.postgres.connection.execute(query.encode())])


@dataclass(frozen=True)
class _ForeignKey:
    name: str
    table: str
    referred: str


def _foreign_keys(connection: Connection) -> list[_ForeignKey]:
    """The foreign keys that stand on PostgreSQL."""
    rows = connection.execute(
        "SELECT c.conname, t.relname, r.relname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid "
        "JOIN pg_class r ON r.oid = c.confrelid WHERE c.contype = 'f' AND c.conparentid = 0 "
        "AND t.relnamespace = current_schema()::regnamespace"
    )
    return [_ForeignKey(*row) for row in rows.fetchall()]


def _no_change(table: Table, quoted: Callable[[str], str] = quote) -> str:
    """An assignment that changes nothing, to a column outside the key where there is one."""
    name = quoted(next((c.name for c in table.columns if c not in table.key), table.key_names[0]))
    return f"UPDATE {quoted(table.name)} SET {name} = {name}"


def _captured_postgres(postgres: PostgresStore, probe: _Probe) -> list[RawKey]:
    table = probe.table
    with _tried(postgres) as connection:
        open_fence_postgres(connection, postgres_control(connection).epoch, writable=True)
        connection.execute(
            f"{_no_change(table, quote_with_parameters)} WHERE {key_sql.match_on_postgres(table)}".encode(),
            keys.canonical_of(table, probe.key),
        )
        logged = _logged_here(connection)
    # Triggers of the application's own may have written more, to any table.
    return keys.typed(table, [key for name, key in logged if name == table.name])


def _logged_here(connection: Connection) -> Logged:
    return connection.execute(
        "SELECT tbl, k FROM st_change_log WHERE xid = pg_current_xact_id() ORDER BY seq"
    ).fetchall()


def _captured_sqlite(sqlite: SqliteStore, probe: _Probe) -> list[RawKey]:
    table = probe.table
    with _tried_sqlite(sqlite) as connection:
        open_fence_sqlite(connection, sqlite.read_control().epoch, writable=True)
        before = int(sqlite.log_end())
        connection.execute(
            f"{_no_change(table)} WHERE {key_sql.match_on_sqlite(table)}",
            keys.matching_on_sqlite(table, probe.key),
        )
        logged = connection.execute(
            "SELECT k FROM st_change_log WHERE seq > ? AND tbl = ? ORDER BY seq", (before, table.name)
        )
        return [key for (key,) in logged]


def _applied_postgres(postgres: PostgresStore, probe: _Probe) -> str | None:
    """Apply the probe to PostgreSQL. Returns what went wrong."""
    table = probe.table
    with _tried(postgres) as connection:
        try:
            refused = _replaced(postgres, probe)
        except psycopg.IntegrityError as error:
            return f"failed: {first_line(error)}"
        if refused:
            return "was refused: PostgreSQL cannot hold the row"
        leaked = _logged_here(connection)
        back = postgres.reader().rows_of(table, [probe.key])
    return _outcome(leaked, len(back))


def _replaced(postgres: PostgresStore, probe: _Probe) -> bool:
    """Delete and insert the probe as apply does, without foreign keys. Returns whether it was refused.

    Dropping a key needs a lock that excludes readers. A switch waits for no reader. Where somebody reads, the
    row is updated to what it is instead: mark, fence and capture are tried all the same.
    """
    connection, table = postgres.connection, probe.table
    keys_here = [key for key in _foreign_keys(connection) if table.name in (key.table, key.referred)]
    referred = any(key.referred == table.name for key in keys_here)
    for dropped in [keys_here] if referred else [[], keys_here]:
        try:
            with connection.transaction():
                for key in dropped:
                    statement = f"ALTER TABLE {quote(key.table)} DROP CONSTRAINT {quote(key.name)}"
                    connection.execute(statement.encode())
                target = postgres.writer()
                mark_applying_postgres(connection, target.control.epoch)
                target.delete(table, [probe.key])
                return bool(target.insert(table, [[probe.row]]))
        except psycopg.errors.ForeignKeyViolation:
            if dropped:
                raise  # else an orphan, which stands on the shadow without its key
        except psycopg.errors.LockNotAvailable:
            break
    mark_applying_postgres(connection, postgres.writer().control.epoch)
    connection.execute(
        f"{_no_change(table, quote_with_parameters)} WHERE {key_sql.match_on_postgres(table)}".encode(),
        keys.canonical_of(table, probe.key),
    )
    return False


def _applied_sqlite(sqlite: SqliteStore, probe: _Probe) -> str | None:
    """Apply the probe to SQLite. Returns what went wrong."""
    table = probe.table
    with _tried_sqlite(sqlite) as connection:
        before = int(sqlite.log_end())
        target = sqlite.writer()
        try:
            with applying_sqlite(connection):
                target.delete(table, [probe.key])
                target.insert(table, [[probe.row]])
        except sqlite3.IntegrityError as error:
            return f"failed: {error}"
        leaked = connection.execute(
            "SELECT tbl, k FROM st_change_log WHERE seq > ? ORDER BY seq", (before,)
        ).fetchall()
        back = sqlite.reader().rows_of(table, [probe.key])
    return _outcome(leaked, len(back))


def _outcome(leaked: Logged, rows: int) -> str | None:
    if leaked:
        return f"left {counted(len(leaked), 'log entry', 'log entries')} ({leaked[:3]}), there must be none"
    return None if rows == 1 else f"left {counted(rows, 'row')} of that key, there must be one"
