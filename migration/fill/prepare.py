"""Prepare: build PostgreSQL and switch capture on, so that from here on no change can be missed.

Safety order: PostgreSQL is claimed first (a control row that says `preparing`, fenced); then the
schema's source makes the tables there, the seed rows it wrote are removed, indexes and foreign keys are set aside,
capture goes in; only then SQLite gets its log, triggers and control row, in one transaction. SQLite's
rows are not touched. A crash anywhere leaves SQLite either untouched or fully captured, and the same
command goes on.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_random

from app.db.common.errors import NotPrepared, Refused, SchemaDrift, SwitchError
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Pair, Side
from app.db.revisions.source import SchemaSource
from app.db.rows.catalog import (
    Schema,
    postgres_left_out,
    postgres_partial_uniques,
    quote,
    read_schema,
    sqlite_columns,
)
from app.db.rows.policy import active_policy
from app.db.sides import tables
from app.db.sides.capture import triggers as capture
from app.db.sides.capture.inventory import check_postgres_inventory
from app.db.sides.capture.silence import check_silence
from app.db.sides.control import (
    Control,
    advance,
    claim_postgres,
    claim_sqlite,
    is_claimed_postgres,
    is_prepared_postgres,
    is_prepared_sqlite,
    postgres_control,
    sqlite_control,
)
from app.db.sides.locks import mark_applying_postgres
from app.db.sides.phase import Phase, record
from app.db.sides.postgres import deferred
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.store import SqliteStore
from app.db.sides.stores import Stores
from migration.fill import origin
from migration.fill.ranges import plan_ranges
from migration.preflight import rules
from migration.preflight.findings.orphans import clear_orphans

WAL_WAIT_S = 30.0
Report = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """What prepare found and did; `already` when there was nothing to do."""

    tables: int
    already: bool
    repaired: bool = False
    steps: list[str] = field(default_factory=list)


def prepare(
    pair: Pair,
    stores: Stores,
    source: SchemaSource,
    *,
    discard_target: bool = False,
    exclude: Collection[str] = (),
    report: Report = print,
) -> Prepared:
    """Bring both sides to the point where backfill can start, or complete what an earlier call began.

    Args:
        source: what makes PostgreSQL's tables.
        discard_target: remove rows that PostgreSQL already holds in the tables that both sides have.
        exclude: tables that take no part, on whichever side they are.

    Raises:
        Refused: a condition does not hold; nothing was changed on either side.
        SchemaDrift: the tables that the source makes are not those of SQLite; both sides are as they were found.
    """
    sqlite, postgres = stores.sqlite, stores.postgres
    ours, theirs = _controls(sqlite, postgres)
    if theirs is not None and theirs.phase != Phase.PREPARING and ours is not None:
        _require_left_out(postgres, exclude)
        return _repair(stores, report)
    rules.refuse(
        rules.structure(
            sqlite.connection, pair.path, postgres.connection, source, active_policy(), frozenset(exclude)
        )[1],
        discard_target=discard_target,
    )
    steps: list[str] = []

    def step(text: str) -> None:
        steps.append(text)
        report(text)

    mode = str(sqlite.connection.execute("PRAGMA journal_mode").fetchone()[0])
    _claim(postgres, discard_target, exclude)
    try:
        return _build(pair, stores, source, steps, step)
    except (SwitchError, psycopg.Error, DBAPIError, sqlite3.Error) as error:
        _undo(stores, mode, error)
        raise


def _build(pair: Pair, stores: Stores, source: SchemaSource, steps: list[str], step: Report) -> Prepared:
    """Everything that follows the claim."""
    sqlite, postgres = stores.sqlite, stores.postgres
    failpoint(Failpoint.PREPARE_CONTROL)
    source.make_tables(pair.postgres)
    left_out = postgres_left_out(postgres.connection)
    schema = read_schema(sqlite.connection, postgres.connection, left_out)
    if whole := postgres_partial_uniques(sqlite.connection, postgres.connection):
        table, index = whole[0]
        raise Refused(
            f"unique index {index} on {table} is partial on SQLite and covers every row on PostgreSQL",
            hint="give the index postgresql_where beside sqlite_where",
            codes=("schema.partial_index",),
        )
    mode = _switch_to_wal(sqlite.connection)
    _set_aside(postgres, schema, step)
    if left_out:
        step(f"left out, with all their rows: {', '.join(sorted(left_out))}")
    failpoint(Failpoint.PREPARE_SCHEMA)
    with postgres.write() as connection:
        capture.install_postgres(connection, schema, inserts=False)  # the end of the copy adds them
    failpoint(Failpoint.PREPARE_CAPTURE)
    _capture_sqlite(sqlite, schema, postgres_control(postgres.connection).pair, mode, left_out)
    step(f"capture on for {len(schema)} tables")
    _clear_orphans(sqlite, step)
    with postgres.write() as connection:
        plan_ranges(connection, sqlite.connection, schema)
        advance(connection, Phase.PREPARING, Phase.COPYING, 1)
    failpoint(Failpoint.PREPARE_DONE)
    return Prepared(len(schema), already=False, steps=steps)


def _controls(sqlite: SqliteStore, postgres: PostgresStore) -> tuple[Control | None, Control | None]:
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
            "a forced rollback left this PostgreSQL behind",
            hint="run st-migrate abort, then prepare --discard-target to fill it anew",
        )
    return ours, theirs


def _require_left_out(postgres: PostgresStore, exclude: Collection[str]) -> None:
    """What a pair leaves out is decided once, when it is prepared."""
    if new := sorted(set(exclude) - postgres_left_out(postgres.connection)):
        raise Refused(
            f"the pair is prepared, and {new[0]} takes part in it",
            hint="leave --exclude away, or run st-migrate abort and prepare anew",
        )


def _repair(stores: Stores, report: Report) -> Prepared:
    """Both sides are prepared: put back any trigger that got lost."""
    schema = read_schema(stores.sqlite.connection, stores.postgres.connection)
    control = stores.postgres.read_control()
    whole = _whole(stores.postgres.connection, schema)
    with stores.sqlite.write() as connection:
        changed = capture.install_sqlite(
            connection, schema, capture.fence_message(control.primary, control.epoch)
        )
    with stores.postgres.write() as postgres:
        capture.install_postgres(postgres, schema, inserts=control.phase != Phase.COPYING)
        changed = changed or not whole
        if changed:
            postgres.execute("DELETE FROM st_verify")
            record(postgres, "capture repaired", control.epoch, {})
    if changed:
        report("capture triggers were put back; verify again, changes may have been missed")
    return Prepared(len(schema), already=True, repaired=changed)


def _whole(connection: psycopg.Connection[Any], schema: Schema) -> bool:
    """Whether PostgreSQL's capture was complete and no setting kept it from acting."""
    try:
        check_postgres_inventory(connection, schema)
        check_silence(connection)
    except SchemaDrift:
        return False
    return True


def _undo(stores: Stores, mode: str, error: Exception) -> None:
    """Leave both sides as they were found, unless a side cannot be reached: then the same command goes on."""
    try:
        with stores.sqlite.write() as sqlite:
            if is_prepared_sqlite(sqlite):
                capture.remove_sqlite(sqlite)
        with suppress(sqlite3.OperationalError):  # it needs the file for itself; WAL does no harm
            stores.sqlite.connection.execute(f"PRAGMA journal_mode = {mode}")
        with stores.postgres.write() as postgres:
            origin.restore(postgres)
            capture.remove_postgres(postgres)
    except (SwitchError, psycopg.Error, sqlite3.Error) as second:
        error.add_note(f"what prepare had done stands still: {second}")


def _claim(postgres: PostgresStore, discard: bool, exclude: Collection[str]) -> None:
    with postgres.write() as connection:
        for statement in tables.create_statements(Side.POSTGRES):
            connection.execute(statement.encode())
        origin.leave_out(connection, exclude)
        if is_claimed_postgres(connection):
            return
        _keep_to_owner(connection)
        origin.remember(connection)
        claim_postgres(connection, uuid.uuid4().hex)
        connection.execute(
            "INSERT INTO st_watermark (id, position, changes, applied_at) VALUES (1, '0', 0, 0)"
        )
        record(connection, "phase preparing", 1, {"discard": discard, "left_out": sorted(exclude)})


def _keep_to_owner(connection: psycopg.Connection[Any]) -> None:
    """Take back what default privileges granted on the bookkeeping tables: they hold the fence."""
    for name, role in connection.execute(
        "SELECT DISTINCT c.relname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END "
        "FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee "
        "WHERE c.relname = ANY(%s) AND c.relnamespace = current_schema()::regnamespace "
        "AND a.grantee <> c.relowner",
        (tables.names(Side.POSTGRES),),
    ).fetchall():
        connection.execute(f"REVOKE ALL ON TABLE {quote(name)} FROM {role}".encode())


def _set_aside(postgres: PostgresStore, schema: Schema, step: Report) -> None:
    """Take indexes and foreign keys down for the copy, and remove the rows that making the tables left."""
    with postgres.write() as connection:
        names = list(schema)
        keys = deferred.drop_foreign_keys(connection)
        indexes = deferred.drop_indexes(connection)
        if names:
            origin.note_emptied(connection)
            mark_applying_postgres(connection, 1)  # capture may be in place already
            connection.execute(f"TRUNCATE {', '.join(map(quote, names))} RESTART IDENTITY".encode())
    step(f"{len(names)} tables made on PostgreSQL, {indexes} indexes and {keys} foreign keys set aside")


def _capture_sqlite(
    sqlite: SqliteStore, schema: Schema, pair: str, mode: str, left_out: Collection[str]
) -> None:
    """Log, triggers and control row in one transaction; `mode` is the file's former journal mode."""
    with sqlite.write() as connection:
        for statement in tables.create_statements(Side.SQLITE):
            connection.execute(statement)
        connection.executemany(
            "INSERT OR IGNORE INTO st_excluded (tbl) VALUES (?)", [(name,) for name in sorted(left_out)]
        )
        claim_sqlite(connection, pair, f"journal_mode={mode}")
        connection.execute(
            "INSERT OR IGNORE INTO st_watermark (id, position, changes, applied_at) VALUES (1, '0', 0, 0)"
        )
        capture.install_sqlite(connection, schema, capture.fence_message(Side.SQLITE, 1))
        _same_schema(connection, schema)


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Change the file's journal mode, so that readers do not block writers; returns the former one.

    SQLite gives up at once when a writer is about to commit, and lets go of its own lock then, so asking
    again and again starves nobody.

    Raises:
        Refused: the file stayed locked, or cannot be in WAL mode.
    """
    mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    attempts = Retrying(
        retry=retry_if_exception_type(sqlite3.OperationalError) | retry_if_result(lambda now: now != "wal"),
        wait=wait_random(0.002, 0.02),
        stop=stop_after_delay(WAL_WAIT_S),
        retry_error_callback=lambda state: None,
    )
    if attempts(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]) is None:
        raise Refused(
            f"the SQLite file could not be switched to WAL within {WAL_WAIT_S:.0f} s",
            hint="stop programs that hold it locked and repeat",
        )
    return mode


def _same_schema(connection: sqlite3.Connection, schema: Schema) -> None:
    """Under the write lock: no table appeared since the schema was read."""
    if set(sqlite_columns(connection)) != set(schema):
        raise SchemaDrift("a table was made or dropped on SQLite during prepare", hint="repeat the command")


def _clear_orphans(sqlite: SqliteStore, step: Report) -> None:
    """What the policy file asks for, captured like any other write."""
    with sqlite.write() as connection:
        cleared = clear_orphans(connection, active_policy())
    for place, rows in cleared.items():
        step(f"{rows} orphans of {place} set to NULL, as the policy file asks")
