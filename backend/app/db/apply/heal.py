"""Capture that got lost is put back where that is noticed, and what may have been missed is carried again.

A table loses its triggers without a word when it is rebuilt by hand, or by a migration that knows one side
only. Nothing logs its writes from then on. Whoever reads the schema next finds that out, and in this order:

1. the last verify is discarded, because rows may have changed that no log names;
2. the triggers are put back and, on the primary, the whole table is logged, in one transaction. From its
   commit on every change is captured. What came before is in the table that the log names.

On the shadow nothing is logged: a row that somebody put there without capture is for verify to find.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import psycopg
from psycopg import errors as pg_errors

from app.db.common.errors import SchemaDrift, first_line
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.logs import logger
from app.db.common.urls import Side
from app.db.rows.catalog import Schema, postgres_keys, quote, read_schema, sqlite_keys
from app.db.sides.capture.inventory import check_postgres_inventory
from app.db.sides.capture.recapture import with_keys
from app.db.sides.capture.triggers import (
    fence_message,
    has_fence,
    install_postgres,
    install_sqlite,
    uncaptured,
)
from app.db.sides.control import Control
from app.db.sides.phase import Phase, record
from app.db.sides.stores import Stores

log = logger("sigma.db")
Lost = dict[Side, list[str]]


def lost_capture(stores: Stores) -> Lost:
    """The tables of each side whose writes are not all captured now; read only.

    Where the sides have different columns, only tables without any trigger are named. How to capture a
    changed table is known when both sides have the change.
    """
    schema, whole = _schema(stores)
    return {
        Side.SQLITE: uncaptured(stores.sqlite.connection, schema, entirely=not whole),
        Side.POSTGRES: _lost_on_postgres(stores.postgres.connection, schema) if whole else [],
    }


def heal(stores: Stores) -> bool:
    """Put lost capture back; whether any was lost.

    Raises:
        SchemaDrift: the role of this process may not do that. Says which command does.
    """
    lost = lost_capture(stores)
    if not any(lost.values()) and has_fence(stores.sqlite.connection):
        return False
    try:
        _heal(stores, lost)
    except pg_errors.InsufficientPrivilege as error:
        raise SchemaDrift(
            f"capture is lost ({_named(lost)}), and this role may not put it back: {first_line(error)}",
            hint="run st-migrate schema upgrade as the owner of the tables",
        ) from error
    log.warning("capture was lost and has been put back (%s); verify again", _named(lost))
    return True


def require_gone(stores: Stores, table: str) -> None:
    """Make sure that a table which the log names is on neither side: what was logged of it means nothing then.

    One that came to be under another name has lost its capture by that, and is logged as a whole.

    Raises:
        SchemaDrift: a side has it.
    """
    ours = stores.sqlite.connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    )
    theirs = stores.postgres.connection.execute("SELECT to_regclass(%s) IS NULL", (quote(table),)).fetchone()
    if ours.fetchone() or theirs != (True,):
        raise SchemaDrift(f"the log names table {table}, which the sides do not share")


def _heal(stores: Stores, lost: Lost) -> None:
    control = stores.postgres.read_control()
    with stores.postgres.write() as theirs:
        theirs.execute("DELETE FROM st_verify")
    failpoint(Failpoint.CAPTURE_HEALING)
    stores.sqlite.renew()
    schema, whole = _schema(stores)
    with stores.sqlite.write() as ours:
        _restore_sqlite(ours, schema, stores.sqlite.read_control(), entirely=not whole)
    with stores.postgres.write() as theirs:
        restore_postgres(theirs, {name: schema[name] for name in lost[Side.POSTGRES]}, control)
        record(theirs, "capture healed", control.epoch, {str(side): names for side, names in lost.items()})


def _restore_sqlite(
    connection: sqlite3.Connection, schema: Schema, control: Control, *, entirely: bool
) -> None:
    lost = uncaptured(connection, schema, entirely=entirely)
    message = fence_message(control.primary, control.epoch)
    # What stands already stays: where the sides differ, `schema` does not tell how it has to look.
    install_sqlite(connection, {name: schema[name] for name in lost}, message, only_these=True)
    if control.primary is Side.SQLITE:
        connection.executemany(
            "INSERT INTO st_change_log (tbl, k, at) VALUES (?, NULL, ?)",
            [(name, time.time()) for name in lost],
        )


def restore_postgres(connection: psycopg.Connection[Any], schema: Schema, control: Control) -> None:
    """Put capture of some tables back on PostgreSQL, in the caller's transaction."""
    if not schema:
        return
    filling = control.phase in (Phase.PREPARING, Phase.COPYING)
    install_postgres(connection, schema, inserts=not filling)
    if control.primary is Side.POSTGRES:
        for name in schema:
            connection.execute("INSERT INTO st_change_log (tbl, k) VALUES (%s, NULL)", (name,))


def _schema(stores: Stores) -> tuple[Schema, bool]:
    """The tables of both sides, and whether they agree. If not: what SQLite says of those that both have."""
    try:
        return read_schema(stores.sqlite.connection, stores.postgres.connection), True
    except SchemaDrift:
        theirs = postgres_keys(stores.postgres.connection)
        ours = with_keys(sqlite_keys(stores.sqlite.connection))
        return {name: table for name, table in ours.items() if name in theirs}, False


def _lost_on_postgres(connection: psycopg.Connection[Any], schema: Schema) -> list[str]:
    lost = []
    for name, table in schema.items():
        try:
            check_postgres_inventory(connection, {name: table})
        except SchemaDrift:
            lost.append(name)
    return lost


def _named(lost: Lost) -> str:
    return (
        "; ".join(f"on {side}: {', '.join(names[:5])}" for side, names in lost.items() if names)
        or "the fence"
    )
