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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_random

from app.db.common.errors import NotPrepared, Refused, SchemaDrift
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Pair, Side
from app.db.revisions.source import SchemaSource
from app.db.rows import keys
from app.db.rows.catalog import Schema, postgres_columns, quote, read_schema, sqlite_columns
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
    postgres_control,
    sqlite_control,
)
from app.db.sides.locks import mark_applying_postgres
from app.db.sides.phase import Phase, record
from app.db.sides.postgres import deferred
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.store import SqliteStore
from app.db.sides.stores import Stores
from migration.preflight.orphans import clear_orphans

MINIMUM_SERVER = 140_000
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
    report: Report = print,
) -> Prepared:
    """Bring both sides to the point where backfill can start, or complete what an earlier call began.

    Args:
        source: what makes PostgreSQL's tables.
        discard_target: remove rows that PostgreSQL already holds in the application's tables.

    Raises:
        Refused: a condition does not hold; nothing was changed on SQLite.
    """
    sqlite, postgres = stores.sqlite, stores.postgres
    ours, theirs = _controls(sqlite, postgres)
    if theirs is not None and theirs.phase != Phase.PREPARING and ours is not None:
        return _repair(stores, report)
    _check_server(postgres.connection)
    source.require_ready(sqlite.connection)
    steps: list[str] = []

    def step(text: str) -> None:
        steps.append(text)
        report(text)

    _claim(postgres, discard_target)
    failpoint(Failpoint.PREPARE_CONTROL)
    source.make_tables(pair.postgres)
    _set_aside(postgres, step)
    failpoint(Failpoint.PREPARE_SCHEMA)
    schema = read_schema(sqlite.connection, postgres.connection)
    with postgres.write() as connection:
        capture.install_postgres(connection, schema, inserts=False)  # the end of the copy adds them
    failpoint(Failpoint.PREPARE_CAPTURE)
    _capture_sqlite(sqlite, schema, postgres_control(postgres.connection).pair)
    step(f"capture on for {len(schema)} tables")
    _clear_orphans(sqlite, step)
    with postgres.write() as connection:
        plan_ranges(connection, sqlite.connection, schema)
        advance(connection, Phase.PREPARING, Phase.COPYING, 1)
    failpoint(Failpoint.PREPARE_DONE)
    return Prepared(len(schema), already=False, steps=steps)


def _controls(sqlite: SqliteStore, postgres: PostgresStore) -> tuple[Control | None, Control | None]:
    """Both control rows, None where there is none; refuses rows of different pairs."""
    try:
        ours = sqlite_control(sqlite.connection)
    except NotPrepared:
        ours = None
    try:
        theirs = postgres_control(postgres.connection)
    except NotPrepared:
        theirs = None
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


def _check_server(connection: psycopg.Connection[object]) -> None:
    if connection.info.server_version < MINIMUM_SERVER:
        raise Refused(
            f"PostgreSQL {connection.info.server_version // 10_000} is too old",
            hint="use PostgreSQL 14 or newer",
        )
    row = connection.execute(
        "SELECT getdatabaseencoding(), has_schema_privilege(current_schema(), 'CREATE')"
    ).fetchone()
    assert isinstance(row, tuple)
    if row[0] != "UTF8":
        raise Refused(
            f"the PostgreSQL database is encoded in {row[0]}", hint="create it with ENCODING 'UTF8'"
        )
    if not row[1]:
        raise Refused(
            f"user {connection.info.user} may not create tables there",
            hint="GRANT CREATE ON SCHEMA public TO the user of the URL",
        )


def _claim(postgres: PostgresStore, discard: bool) -> None:
    with postgres.write() as connection:
        for statement in tables.create_statements(Side.POSTGRES):
            connection.execute(statement.encode())
        if is_claimed_postgres(connection):
            return
        _keep_to_owner(connection)
        filled = [
            name
            for name in postgres_columns(connection)
            if connection.execute(f"SELECT 1 FROM {quote(name)} LIMIT 1".encode()).fetchone()
        ]
        if filled and not discard:
            raise Refused(
                f"PostgreSQL already holds rows in {len(filled)} tables, {filled[0]} among them",
                hint="name an empty database, or repeat with --discard-target to remove those rows",
            )
        claim_postgres(connection, uuid.uuid4().hex)
        connection.execute(
            "INSERT INTO st_watermark (id, position, changes, applied_at) VALUES (1, '0', 0, 0)"
        )
        record(connection, "phase preparing", 1, {"discarded": filled})


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


def _set_aside(postgres: PostgresStore, step: Report) -> None:
    """Take indexes and foreign keys down for the copy, and remove the rows that making the tables left."""
    with postgres.write() as connection:
        names = list(postgres_columns(connection))
        keys = deferred.drop_foreign_keys(connection)
        indexes = deferred.drop_indexes(connection)
        if names:
            mark_applying_postgres(connection, 1)  # capture may be in place already
            connection.execute(f"TRUNCATE {', '.join(map(quote, names))} RESTART IDENTITY".encode())
    step(f"{len(names)} tables made on PostgreSQL, {indexes} indexes and {keys} foreign keys set aside")


def _capture_sqlite(sqlite: SqliteStore, schema: Schema, pair: str) -> None:
    """Log, triggers and control row in one transaction; WAL first, so that readers do not block writers."""
    mode = _switch_to_wal(sqlite.connection)
    with sqlite.write() as connection:
        for statement in tables.create_statements(Side.SQLITE):
            connection.execute(statement)
        claim_sqlite(connection, pair, f"journal_mode={mode}")
        connection.execute(
            "INSERT OR IGNORE INTO st_watermark (id, position, changes, applied_at) VALUES (1, '0', 0, 0)"
        )
        capture.install_sqlite(connection, schema, capture.fence_message(Side.SQLITE, 1))
        _same_schema(connection, schema)


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Change the file's journal mode; returns the former one.

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


RANGE_ROWS = 50_000  # a chunk each, so that workers take them in the order of the key


def plan_ranges(connection: psycopg.Connection[object], sqlite: sqlite3.Connection, schema: Schema) -> None:
    """Cut every table into key ranges that can be copied independently, in the caller's transaction."""
    connection.execute("DELETE FROM st_copy_range")
    for table in schema.values():
        (rows,) = sqlite.execute(f"SELECT count(*) FROM {quote(table.name)}").fetchone()
        for n, (after, upto) in enumerate(
            _cuts(sqlite, table.name, table.key_names[0], rows, table.integer_key)
        ):
            connection.execute(
                "INSERT INTO st_copy_range (tbl, n, after, upto, cursor, expected) VALUES (%s, %s, %s, %s, %s, %s)",
                (table.name, n, after, upto, after, rows if n == 0 else 0),
            )


def _cuts(
    sqlite: sqlite3.Connection, table: str, key: str, rows: int, integer: bool
) -> list[tuple[str | None, str | None]]:
    """Exclusive lower and inclusive upper bounds, as JSON lists; None is open."""
    parts = rows // RANGE_ROWS
    if not integer or parts < 2:
        return [(None, None)]
    low, high = sqlite.execute(f"SELECT min({quote(key)}), max({quote(key)}) FROM {quote(table)}").fetchone()
    bounds = [keys.to_bound([low + (high - low) * n // parts]) for n in range(1, parts)]
    return list(zip([None, *bounds], [*bounds, None], strict=True))
