"""Prepare: build PostgreSQL and switch capture on, so that from here on no change can be missed.

Safety order: PostgreSQL is claimed first, by a fenced control row that says `preparing`. Then the schema's source
makes the tables there. The seed rows that it wrote are removed, indexes and foreign keys are set aside, and capture
is installed. Only then SQLite gets its log, triggers and control row, in one transaction. Its rows are not
touched. A crash anywhere leaves it either untouched or fully captured, and the same command goes on.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import psycopg
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_random

from app.db.common.errors import Refused, SchemaDrift, SwitchError
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Pair, Side
from app.db.revisions.source import SchemaSource, keep_source
from app.db.rows.catalog import (
    Schema,
    postgres_columns,
    postgres_columns_left_out,
    postgres_left_out,
    postgres_partial_uniques,
    quote,
    read_schema,
    sqlite_columns,
    virtual_tables,
)
from app.db.rows.policy import active_policy
from app.db.sides import tables
from app.db.sides.capture import triggers as capture
from app.db.sides.control import (
    advance,
    claim_postgres,
    claim_sqlite,
    is_claimed_postgres,
    is_prepared_sqlite,
    postgres_control,
)
from app.db.sides.locks import mark_applying_postgres
from app.db.sides.phase import Phase, record
from app.db.sides.postgres import deferred, folds
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.store import SqliteStore
from app.db.sides.stores import Stores
from migration.common.plain import counted
from migration.fill.before import backup, origin, paired
from migration.fill.ranges import plan_ranges
from migration.preflight import rules
from migration.preflight.findings import left_out
from migration.preflight.findings.left_out import LeftOut
from migration.preflight.findings.orphans import clear_orphans
from migration.preflight.findings.seeded import MOST_ROWS

WAL_WAIT_S = 30.0
Report = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """What prepare found and did; `already` when there was nothing to do."""

    tables: int
    already: bool
    repaired: bool = False
    steps: list[str] = field(default_factory=list)


class Fence(Protocol):
    """What keeps a PostgreSQL from being written that an earlier move left behind."""

    def lift(self, connection: psycopg.Connection[Any]) -> None: ...

    def put_back(self, connection: psycopg.Connection[Any]) -> None: ...


def prepare(
    pair: Pair,
    stores: Stores,
    source: SchemaSource,
    *,
    discard_target: bool = False,
    exclude: Collection[str] = (),
    report: Report = print,
    fence: Fence | None = None,
) -> Prepared:
    """Bring both sides to the point where backfill can start, or complete what an earlier call began.

    Args:
        source: what makes PostgreSQL's tables.
        discard_target: remove rows that PostgreSQL already holds in the tables that both sides have.
        fence: taken down when every rule has agreed, and put back if prepare fails.
        exclude: tables, and columns as TABLE.COLUMN, that take no part, on whichever side they are.

    Raises:
        Refused: a condition does not hold. Nothing was changed on either side.
        SchemaDrift: the tables that the source makes are not those of SQLite. Both sides are as found.
        StaleAttempt: the pair is not any more what this call claimed; nothing of it was touched since.
    """
    with paired.alone(stores.postgres):
        return _prepare(pair, stores, source, discard_target, exclude, report, fence)


def _prepare(
    pair: Pair,
    stores: Stores,
    source: SchemaSource,
    discard_target: bool,
    exclude: Collection[str],
    report: Report,
    fence: Fence | None,
) -> Prepared:
    sqlite, postgres = stores.sqlite, stores.postgres
    ours, theirs = paired.controls(sqlite, postgres)
    if theirs is not None and theirs.phase != Phase.PREPARING and ours is not None:
        paired.require_as_prepared(postgres, source, exclude)
        return Prepared(*paired.repair(stores, report))
    rules.refuse(
        rules.structure(
            sqlite.connection, pair.path, postgres.connection, source, active_policy(), frozenset(exclude)
        )[1],
        discard_target=discard_target,
    )
    if ours is None and theirs is None:
        backup.before("prepare", pair.path, report)
    steps: list[str] = []

    def step(text: str) -> None:
        steps.append(text)
        report(text)

    mode = str(sqlite.connection.execute("PRAGMA journal_mode").fetchone()[0])
    without = left_out.resolve(
        exclude,
        left_out.sqlite_needs(sqlite.connection),
        left_out.postgres_needs(postgres.connection),
        virtual_tables(sqlite.connection),
    )
    claimed = _claim(postgres, source, discard_target, without, fence)
    try:
        return _build(pair, stores, source, claimed, discard_target, steps, step)
    except (SwitchError, psycopg.Error, DBAPIError, sqlite3.Error) as error:
        _undo(stores, claimed, mode, error, fence)
        raise


def _build(
    pair: Pair,
    stores: Stores,
    source: SchemaSource,
    claimed: str,
    discard: bool,
    steps: list[str],
    step: Report,
) -> Prepared:
    """Everything that follows the claim."""
    sqlite, postgres = stores.sqlite, stores.postgres
    failpoint(Failpoint.PREPARE_CONTROL)
    source.make_tables(pair.postgres)
    without = LeftOut(postgres_left_out(postgres.connection), postgres_columns_left_out(postgres.connection))
    schema = read_schema(sqlite.connection, postgres.connection, without.tables, without.columns)
    if whole := postgres_partial_uniques(sqlite.connection, postgres.connection):
        table, index = whole[0]
        raise Refused(
            f"unique index {index} on {table} is partial on SQLite and covers every row on PostgreSQL",
            hint="give the index postgresql_where beside sqlite_where",
            codes=("schema.partial_index",),
        )
    if not source.installed:
        _fold(stores, claimed, schema, step)
    mode = _switch_to_wal(sqlite.connection)
    _set_aside(
        postgres,
        claimed,
        schema,
        step,
        did="found" if source.installed else "made",
        keep_rows=source.installed and not discard,
    )
    if without.tables:
        step(f"left out, with all their rows: {', '.join(sorted(without.tables))}")
    if without.columns:
        step(f"left out, with all their values: {', '.join(replace(without, tables=frozenset()).names())}")
    failpoint(Failpoint.PREPARE_SCHEMA)
    with paired.writing(postgres, claimed) as connection:
        capture.install_postgres(connection, schema, inserts=False)  # the end of the copy adds them
    failpoint(Failpoint.PREPARE_CAPTURE)
    with paired.writing(postgres, claimed):
        _capture_sqlite(sqlite, schema, claimed, mode, without)
    step(f"capture on for {counted(len(schema), 'table')}")
    _clear_orphans(sqlite, step)
    with paired.writing(postgres, claimed) as connection:
        plan_ranges(connection, sqlite.connection, schema)
        advance(connection, Phase.PREPARING, Phase.COPYING, 1)
    failpoint(Failpoint.PREPARE_DONE)
    return Prepared(len(schema), already=False, steps=steps)


def _undo(stores: Stores, claimed: str, mode: str, error: Exception, fence: Fence | None) -> None:
    """Leave both sides as they were found, unless a side cannot be reached: then the same command goes on."""
    try:
        with paired.writing(stores.postgres, claimed) as postgres:
            with stores.sqlite.write() as sqlite:
                if is_prepared_sqlite(sqlite):
                    capture.remove_sqlite(sqlite)
            with suppress(sqlite3.OperationalError):  # it needs the file for itself; WAL does no harm
                stores.sqlite.connection.execute(f"PRAGMA journal_mode = {mode}")
            origin.restore(postgres)
            capture.remove_postgres(postgres)
            if fence is not None:
                fence.put_back(postgres)
    except (SwitchError, psycopg.Error, sqlite3.Error) as second:
        error.add_note(f"what prepare had done stands still: {second}")


def _claim(
    postgres: PostgresStore, source: SchemaSource, discard: bool, without: LeftOut, fence: Fence | None
) -> str:
    """Make PostgreSQL the shadow that is being prepared, or go on with one; returns the id of the pair."""
    with postgres.write() as connection:
        if fence is not None:
            fence.lift(connection)
        for statement in tables.create_statements(Side.POSTGRES):
            connection.execute(statement.encode())
        origin.leave_out(connection, without.tables, without.columns)
        if is_claimed_postgres(connection):
            return postgres_control(connection).pair
        _keep_to_owner(connection)
        origin.remember(connection)
        keep_source(connection, source)
        if source.installed:
            origin.remember_rows(connection, postgres_columns(connection), MOST_ROWS)
        claim_postgres(connection, claimed := uuid.uuid4().hex)
        connection.execute(tables.BEGIN_WATERMARK.encode())
        record(connection, "phase preparing", 1, _evidence(source, discard, without))
    return claimed


def _evidence(source: SchemaSource, discard: bool, without: LeftOut) -> dict[str, Any]:
    return {"schema": source.name, "discard": discard, "left_out": without.names()}


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


def _fold(stores: Stores, claimed: str, schema: Schema, step: Report) -> None:
    """Unique indexes for which SQLite does not compare bytes, made on PostgreSQL with the same meaning."""
    with paired.writing(stores.postgres, claimed) as postgres:
        for table in schema.values():
            for index in folds.folded_uniques(stores.sqlite.connection, table.name, folds.texts_of(table)):
                if not folds.has_counterpart(postgres, index):
                    name = folds.make(postgres, index)
                    origin.note_made(postgres, name)
                    step(
                        f"unique index {name} made on {table.name}, which folds as {index.name} does on SQLite"
                    )


def _set_aside(
    postgres: PostgresStore, claimed: str, schema: Schema, step: Report, *, did: str, keep_rows: bool
) -> None:
    """Take indexes and foreign keys down for the copy, and remove the rows that making the tables left.

    Args:
        did: how the tables came to be there, for people.
        keep_rows: rows of an installer stay, which SQLite has as well; the copy takes their places.
    """
    with paired.writing(postgres, claimed) as connection:
        names = list(schema)
        keys = deferred.drop_foreign_keys(connection)
        indexes = deferred.drop_indexes(connection)
        if names:
            origin.note_emptied(connection)
            mark_applying_postgres(connection, 1)  # capture may be in place already
        if names and not keep_rows:
            connection.execute(f"TRUNCATE {', '.join(map(quote, names))} RESTART IDENTITY".encode())
    taken = f"{counted(keys, 'foreign key')} and {indexes} {'index' if indexes == 1 else 'indexes'}"
    step(f"{counted(len(names), 'table')} {did} on PostgreSQL, {taken} set aside")


def _capture_sqlite(sqlite: SqliteStore, schema: Schema, pair: str, mode: str, without: LeftOut) -> None:
    """Log, triggers and control row in one transaction; `mode` is the file's former journal mode."""
    with sqlite.write() as connection:
        for statement in tables.create_statements(Side.SQLITE):
            connection.execute(statement)
        connection.executemany(
            "INSERT OR IGNORE INTO st_excluded (tbl) VALUES (?)", [(name,) for name in sorted(without.tables)]
        )
        connection.executemany(
            "INSERT OR IGNORE INTO st_excluded_column (tbl, col) VALUES (?, ?)", sorted(without.columns)
        )
        claim_sqlite(connection, pair, f"journal_mode={mode}")
        connection.execute(tables.BEGIN_WATERMARK)
        capture.install_sqlite(connection, schema, capture.fence_message(Side.SQLITE, 1))
        _same_schema(connection, schema)


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Change the file's journal mode, so that readers do not block writers. Returns the former one.

    SQLite gives up at once when a writer is about to commit, and lets go of its own lock then. So asking
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
