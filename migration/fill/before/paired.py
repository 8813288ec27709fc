"""What `prepare` finds first: another command at work, a pair that is prepared already, databases of other pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg

from app.db.common.errors import NotPrepared, Refused, SchemaDrift, StaleAttempt
from app.db.revisions.source import SchemaSource, recorded_source
from app.db.rows.catalog import Schema, postgres_columns_left_out, postgres_left_out, read_schema
from app.db.sides import tables
from app.db.sides.capture import triggers as capture
from app.db.sides.capture.inventory import check_postgres_inventory
from app.db.sides.capture.silence import check_silence
from app.db.sides.control import (
    Control,
    is_prepared_postgres,
    is_prepared_sqlite,
    postgres_control,
    sqlite_control,
)
from app.db.sides.locks import try_hold_ends
from app.db.sides.phase import Phase, record
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.store import SqliteStore
from app.db.sides.stores import Stores
from app.db.switch.state.stamp import own_change_on_postgres
from migration.preflight.findings.left_out import LeftOut

WAIT_S = 10.0  # for another command that begins or ends a move
LOOK_S = 0.1
Report = Callable[[str], None]


@contextmanager
def alone(postgres: PostgresStore) -> Iterator[None]:
    """Be the only command that begins or ends a move here: a transaction of its own stays open for the block.

    Raises:
        Refused: another one is at work, and did not end soon.
        ShadowUnavailable: PostgreSQL cannot be reached.
    """
    until = time.monotonic() + WAIT_S
    with closing(postgres.another()) as other:
        while True:
            other.connection.execute("BEGIN")
            if try_hold_ends(other.connection):
                break
            other.connection.execute("ROLLBACK")
            if time.monotonic() >= until:
                raise Refused(
                    "another command prepares or ends a move here", hint="wait for it to end, then repeat"
                )
            time.sleep(LOOK_S)
        yield


@contextmanager
def writing(postgres: PostgresStore, claimed: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction on PostgreSQL, which is still being prepared for the pair that this call has claimed.

    A process that slept may wake up when others have gone on, and the rows are the primary's by then.

    Raises:
        StaleAttempt, NotPrepared: it is not.
    """
    with postgres.write() as connection:
        now = postgres_control(connection, lock=True)
        if (now.pair, now.phase) != (claimed, Phase.PREPARING):
            raise StaleAttempt(
                "another process went on with this pair meanwhile", hint="see st-migrate status"
            )
        yield connection


def controls(sqlite: SqliteStore, postgres: PostgresStore) -> tuple[Control | None, Control | None]:
    """Both control rows, None where there is none; refuses rows of different pairs."""
    ours = theirs = None  # a table of the application may have the name of the control row's
    if is_prepared_sqlite(sqlite.connection):
        with suppress(NotPrepared):
            ours = sqlite_control(sqlite.connection)
    if is_prepared_postgres(postgres.connection):
        with suppress(NotPrepared):
            theirs = postgres_control(postgres.connection)
    if theirs is not None and theirs.phase == Phase.COMPLETING:
        raise Refused(
            "the move is being ended", hint="see st-migrate status for the command that finishes it"
        )
    if ours is None and theirs is not None and theirs.phase != Phase.PREPARING:
        # Going on would empty tables that may be the primary's.
        raise Refused(
            "the PostgreSQL database is already paired with another SQLite file",
            hint="use that file, or run st-migrate abort with it first",
        )
    if ours is not None and (theirs is None or ours.pair != theirs.pair):
        raise Refused(
            "the SQLite file is already paired with another PostgreSQL database",
            hint="use that database's URL, or run st-migrate abort with it first",
        )
    if ours is not None and theirs is not None and ours.epoch > theirs.epoch:
        raise Refused(
            ours.ahead,
            hint="put the newer one back; or SQLite has everything: run st-migrate abort, then prepare --discard-target to fill it anew",
        )
    return ours, theirs


def require_as_prepared(postgres: PostgresStore, source: SchemaSource, exclude: Collection[str]) -> None:
    """What a pair leaves out, and what makes its tables, is decided once, when it is prepared."""
    connection = postgres.connection
    known = LeftOut(postgres_left_out(connection), postgres_columns_left_out(connection)).names()
    if new := sorted(set(exclude) - set(known)):
        raise Refused(
            f"the pair is prepared, and {new[0]} takes part in it",
            hint="leave --leave-out away, or run st-migrate abort and prepare anew",
        )
    recorded = recorded_source(connection)
    if recorded is not None and recorded != source.name:
        raise Refused(
            f"the pair is prepared with --schema {recorded}",
            hint="leave --schema away, or run st-migrate abort and prepare anew",
        )


def repair(stores: Stores, report: Report) -> tuple[int, bool, bool]:
    """Both sides are prepared: put back any trigger or watermark that got lost.

    Returns:
        How many tables there are, True, and whether one was lost.
    """
    schema = read_schema(stores.sqlite.connection, stores.postgres.connection)
    control = stores.postgres.read_control()
    whole = _whole(stores.postgres.connection, schema)
    with stores.sqlite.write() as connection:
        changed = tables.complete_watermark_sqlite(connection)
        changed |= capture.install_sqlite(
            connection, schema, capture.fence_message(control.primary, control.epoch)
        )
    with stores.postgres.write() as postgres:
        with own_change_on_postgres(stores, schema):
            capture.install_postgres(postgres, schema, inserts=control.phase != Phase.COPYING)
        postgres.execute(tables.CREATE_WATERMARK.encode())
        begun = postgres.execute(tables.BEGIN_WATERMARK.encode()).rowcount
        changed = changed or not whole or bool(begun)
        if changed:
            postgres.execute("DELETE FROM st_verify")
            record(postgres, "capture repaired", control.epoch, {})
    if changed:
        report(
            "what was lost of capture or a watermark was put back; verify again, changes may have been missed"
        )
    return len(schema), True, changed


def _whole(connection: psycopg.Connection[Any], schema: Schema) -> bool:
    """Whether PostgreSQL's capture was complete and no setting kept it from acting."""
    try:
        check_postgres_inventory(connection, schema)
        check_silence(connection)
    except SchemaDrift:
        return False
    return True
