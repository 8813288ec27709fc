"""The permanent fence of a side that was left behind: its data stay readable, nobody can write them.

After `complete` a process that never heard of the move may still write to the old side. Its triggers refuse
every write, with the name of the primary and its epoch. The tables of migration frameworks are fenced too, so
that no migration can rebuild a table and lose its trigger. The refusal's text is the only record of the move
that the retired side keeps.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import Any

import psycopg

from app.db.common.errors import Refused
from app.db.common.urls import Side
from app.db.rows.catalog import FRAMEWORK_TABLES, literal, postgres_columns, quote, sqlite_columns
from app.db.sides.capture.foreign import OURS_ON_SQLITE
from app.db.sides.capture.triggers import FENCED_SQLSTATE, FENCED_TEXT
from app.db.sides.stores import Stores

SERVES = "serves as primary since epoch"
_EVENTS = ("INSERT", "UPDATE", "DELETE")
_EPOCH = re.compile(r"since epoch (\d+)")
_FUNCTION = """
CREATE OR REPLACE FUNCTION st_retired() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  RAISE EXCEPTION USING ERRCODE = '{sqlstate}', MESSAGE = {message},
    HINT = 'Point this process at the primary and restart it.';
END
$body$
"""


def message(retired: Side, epoch: int) -> str:
    """What a refused writer reads."""
    return f"{retired} {FENCED_TEXT}: it was retired, the primary is {retired.other} since epoch {epoch}"


def retire_sqlite(connection: sqlite3.Connection, epoch: int) -> None:
    """Fence every table for good, in the caller's write transaction."""
    unfence_sqlite(connection)
    refusal = literal(message(Side.SQLITE, epoch))
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    frameworks = sorted(name for (name,) in names if name in FRAMEWORK_TABLES)
    for table in [*sqlite_columns(connection), *frameworks]:
        for event in _EVENTS:
            name = quote(f"st_retired_{table}_{event.lower()}")
            connection.execute(
                # As st_fence does it: an operational error, and a path that is no constant.
                f"CREATE TRIGGER {name} BEFORE {event} ON {quote(table)} "
                f"BEGIN SELECT 1 FROM json_each('{{}}', {refusal} || substr(changes(), 1, 0)); "
                f"SELECT RAISE(ABORT, {refusal}); END"
            )


def unfence_sqlite(connection: sqlite3.Connection) -> bool:
    """Remove the permanent fence, in the caller's write transaction. Returns whether there was one."""
    names = connection.execute(
        f"SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'st_retired_*' AND {OURS_ON_SQLITE}"
    ).fetchall()
    for (name,) in names:
        connection.execute(f"DROP TRIGGER {quote(name)}")
    return bool(names)


def sqlite_retired_at(connection: sqlite3.Connection) -> int | None:
    """The epoch at which the file was retired, None if it was not."""
    row = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'st_retired_*' LIMIT 1"
    ).fetchone()
    return _epoch(row)


def retire_postgres(connection: psycopg.Connection[Any], epoch: int) -> None:
    """Fence every table for good, in the caller's transaction."""
    unfence_postgres(connection)
    connection.execute(
        _FUNCTION.format(sqlstate=FENCED_SQLSTATE, message=literal(message(Side.POSTGRES, epoch))).encode()
    )
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') "
        "AND relnamespace = current_schema()::regnamespace AND relname = ANY(%s) ORDER BY 1",
        (sorted(FRAMEWORK_TABLES),),
    ).fetchall()
    for table in [*postgres_columns(connection), *(name for (name,) in rows)]:
        connection.execute(
            f"CREATE TRIGGER st_retired BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {quote(table)} "
            "FOR EACH STATEMENT EXECUTE FUNCTION st_retired()".encode()
        )


def unfence_postgres(connection: psycopg.Connection[Any]) -> bool:
    """Remove the permanent fence, in the caller's transaction. Returns whether there was one."""
    if postgres_retired_at(connection) is None:
        return False
    connection.execute("DROP FUNCTION st_retired() CASCADE")
    return True


def postgres_retired_at(connection: psycopg.Connection[Any]) -> int | None:
    """The epoch at which the database was retired, None if it was not."""
    row = connection.execute(
        "SELECT prosrc FROM pg_proc WHERE proname = 'st_retired' "
        "AND pronamespace = current_schema()::regnamespace"
    ).fetchone()
    return _epoch(row)


def mark_served(connection: psycopg.Connection[Any], epoch: int) -> None:
    """Leave on record, in the caller's transaction, that the database serves alone as primary since an epoch.

    A function without effect: it is restored with a backup, and no tool takes it for a table of the application.
    """
    since = literal(f"{SERVES} {epoch}")
    connection.execute(
        f"CREATE OR REPLACE FUNCTION st_served() RETURNS text LANGUAGE sql AS {literal(f'SELECT {since}')}".encode()
    )


def must_not_serve(connection: psycopg.Connection[Any]) -> None:
    """Make sure that a database is not one that a completed move left as the primary.

    Raises:
        Refused: it is: its rows may be the only ones there are.
    """
    row = connection.execute(
        "SELECT prosrc FROM pg_proc WHERE proname = 'st_served' "
        "AND pronamespace = current_schema()::regnamespace"
    ).fetchone()
    if row is not None:
        raise Refused(
            f"this PostgreSQL database {SERVES} {_epoch(row)} and is never emptied",
            hint="name an empty database; check --sqlite: the file of that move is only an archive",
        )


def _epoch(row: tuple[Any, ...] | None) -> int | None:
    if row is None:
        return None
    found = _EPOCH.search(row[0])
    return int(found[1]) if found else 0


def _must_be_writable(connection: sqlite3.Connection) -> None:
    """A write that is undone: BEGIN IMMEDIATE alone succeeds on a read-only file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA user_version = {version}")
    finally:
        connection.rollback()


@dataclass(frozen=True)
class RetiredFence:
    """The permanent fence of a PostgreSQL that is to be filled anew: taken down by the claim, put back if that comes to nothing."""

    epoch: int

    def lift(self, connection: psycopg.Connection[Any]) -> None:
        """Take it down, in the caller's transaction."""
        unfence_postgres(connection)

    def put_back(self, connection: psycopg.Connection[Any]) -> None:
        """Put it back, in the caller's transaction."""
        retire_postgres(connection, self.epoch)


def reopen(stores: Stores, *, discard: bool) -> RetiredFence | None:
    """Make sure that a move may begin here; changes nothing.

    Args:
        discard: a PostgreSQL that was left behind may be filled anew.

    Returns:
        Its fence, which `prepare` takes down once all rules have agreed. None if there is none.

    Raises:
        Refused: a side was retired: its data are older than the primary's; or PostgreSQL serves as primary.
        sqlite3.OperationalError: the SQLite file cannot be written.
    """
    _must_be_writable(stores.sqlite.connection)
    if (epoch := sqlite_retired_at(stores.sqlite.connection)) is not None:
        raise Refused(
            f"this SQLite file was retired, the primary is postgres since epoch {epoch}",
            hint="a move starts from the primary; this file is only an archive",
        )
    must_not_serve(stores.postgres.connection)
    if (epoch := postgres_retired_at(stores.postgres.connection)) is None:
        return None
    if not discard:
        raise Refused(
            f"this PostgreSQL database was retired, the primary is sqlite since epoch {epoch}",
            hint="name an empty database, or repeat with --discard-target to fill this one anew",
        )
    return RetiredFence(epoch)
