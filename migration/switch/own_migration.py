"""The application's own migration on a live pair whose tables its installer made: the shadow first, then the primary.

The command is the application's. What it does within its transactions is not known here. So these rules hold:

1. no round of apply runs while the shadow is migrated, and its foreign keys stand meanwhile. On PostgreSQL
   the command passes the fence, by a setting of its own connections that counts at this epoch only;
2. tables that the command wrote on the shadow are logged whole on the primary. So they come out as there;
3. the primary is migrated while the application writes. Apply stands still until both sides have the same
   columns. Nothing is lost, because the log keeps everything. A table that lost its triggers is logged whole;
4. capture is put back, the last verify is forgotten, and the sides are compared.

A failure half way leaves apply standing. The same command then goes on, if the application's migration may be
repeated. Those of the usual frameworks may.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.db.apply.heal import heal
from app.db.common.errors import ConfigurationError, Refused, SchemaDrift
from app.db.common.urls import Pair, Side, connect_arguments
from app.db.revisions.around import OF_TABLES, forget_dropped, missing_now
from app.db.revisions.source import source_of
from app.db.rows.catalog import postgres_columns, read_schema, sqlite_columns
from app.db.sides.capture.triggers import fence_message, set_fence_message
from app.db.sides.control import Control
from app.db.sides.locks import APPLYING, hold_rounds
from app.db.sides.phase import Phase, record
from app.db.sides.postgres import deferred
from app.db.sides.postgres.sequences import advance_sequences
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.stores import Stores
from migration.common.sides import named_for_commands, open_stores

Report = Callable[[str], None]
# A round of many rows takes seconds, and the command as long as it likes.
_PATIENTLY = (
    "SELECT set_config('lock_timeout', '60s', true), set_config(name, '0', true) FROM pg_settings "
    "WHERE name IN ('transaction_timeout', 'idle_in_transaction_session_timeout')"
)
_POLL_S = 0.05
_WRITTEN = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE schemaname = current_schema()"
_SETTLED_S = 1.0  # how long the server's counters may be behind the end of a connection


@dataclass(frozen=True)
class Migrated:
    """What came of it: sides that the command ended well on, its exit code where it did not, what still differs."""

    done: tuple[Side, ...]
    failed: Side | None = None
    code: int = 0
    drift: str = ""
    logged: tuple[str, ...] = ()


def migrate(
    pair: Pair, stores: Stores, command: Sequence[str], only: Side | None, report: Report
) -> Migrated:
    """Run the command on the shadow, then on the primary.

    Args:
        only: the one side to run it on, for what has to be mended by hand.

    Raises:
        Refused: the pair is in a phase, or has a source, for which this is not meant. Nothing was run.
        ConfigurationError: there is no such program. Nothing was run.
    """
    control = _require_replicating(stores)
    shadow, primary = control.primary.other, control.primary
    done: list[Side] = []
    logged: tuple[str, ...] = ()
    code = 0
    failed: Side | None = None
    for side in (shadow, primary):
        if failed is not None or only not in (None, side):
            continue
        report(f"{command[0]} on {side}, the {'shadow' if side is shadow else 'primary'}")
        facts = environment(pair, control, side)
        if side is shadow:
            with _opened(pair, stores, control) as written:
                code = _run(command, facts)
            logged = tuple(written)
        else:
            code = _run(command, facts)
        if code:
            failed = side
        else:
            done.append(side)
    return Migrated(tuple(done), failed, code, _settle(stores, control, command, done), logged)


def _require_replicating(stores: Stores) -> Control:
    source = source_of(stores.postgres.connection)
    if not source.installed:
        raise Refused(
            "the tables of this pair are made by the backend's Alembic chain",
            hint="run st-migrate schema upgrade, which migrates both sides",
        )
    control, ours = stores.postgres.read_control(), stores.sqlite.read_control()
    if control.phase != Phase.REPLICATING:
        raise Refused(
            f"the schema cannot change in phase {control.phase}",
            hint="finish it first: "
            + (
                "st-migrate backfill"
                if control.phase == Phase.COPYING
                else "st-migrate status names the command"
            ),
        )
    if control.attempt is not None or (ours.epoch, ours.primary) != (control.epoch, control.primary):
        raise Refused(
            "the sides are being switched", hint="repeat the command; if it stays so, run st-migrate recover"
        )
    return control


def environment(pair: Pair, control: Control, side: Side) -> Mapping[str, str]:
    """The facts that the command gets: which side, in which role, and how to connect to it."""
    shadow = side is not control.primary
    facts = {
        "ST_SIDE": str(side),
        "ST_SIDE_ROLE": "shadow" if shadow else "primary",
        "ST_EPOCH": str(control.epoch),
    }
    facts |= named_for_commands(pair, side)
    if side is Side.SQLITE:
        return facts
    arguments = connect_arguments(pair.postgres)
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
    }
    facts |= {name: str(arguments[key]) for key, name in names.items() if arguments.get(key)}
    if shadow:
        own = os.environ.get("PGOPTIONS", "")
        facts["PGOPTIONS"] = f"{own} -c {APPLYING}={control.epoch}".strip()
    return facts


def _run(command: Sequence[str], facts: Mapping[str, str]) -> int:
    """Run the command to its end, with its output on stderr. Returns its exit code."""
    try:
        return subprocess.run(command, env={**os.environ, **facts}, stdout=2, check=False).returncode
    except OSError as error:
        raise ConfigurationError(
            f"{command[0]} cannot be run: {error.strerror}", hint="check the name and the path of the program"
        ) from None


@contextmanager
def _opened(pair: Pair, stores: Stores, control: Control) -> Iterator[list[str]]:
    """Hold apply out and, on PostgreSQL, let the foreign keys stand, while the shadow is migrated.

    Yields:
        A list that holds in the end the tables whose rows the command changed.
    """
    written: list[str] = []
    on_postgres = control.primary is Side.SQLITE
    with open_stores(pair) as holder, holder.postgres.write() as connection:
        connection.execute(_PATIENTLY.encode())
        hold_rounds(connection)
        if not on_postgres:
            yield written
            return
        store = stores.postgres
        with store.write() as theirs:
            deferred.add_foreign_keys(theirs)
            advance_sequences(theirs, 0)
        missing = missing_now(store.connection)
        before = _counters(store)
        try:
            yield written
        finally:
            written += _changed(store, before)
            with store.write() as theirs:
                for name, table in (
                    missing_now(theirs) - missing
                ):  # dropped by the command: never to be built again
                    theirs.execute("DELETE FROM st_deferred_ddl WHERE name = %s AND tbl = %s", (name, table))
                deferred.drop_foreign_keys(theirs)
            _log_whole(stores, written)


def _counters(store: PostgresStore) -> dict[str, int]:
    """Rows written so far in each table of PostgreSQL, as the server counts them."""
    store.connection.execute("SELECT pg_stat_clear_snapshot()")
    return dict(store.connection.execute(_WRITTEN).fetchall())


def _changed(store: PostgresStore, before: Mapping[str, int]) -> list[str]:
    """The tables that take part and whose counters moved. A connection tells its counts when it ends."""
    until = time.monotonic() + _SETTLED_S
    found: set[str] = set()
    while not found and time.monotonic() < until:
        now = _counters(store)
        found = {table for table, count in now.items() if count != before.get(table, 0)}
        time.sleep(_POLL_S)
    return sorted(found & postgres_columns(store.connection).keys())


def _log_whole(stores: Stores, tables: Sequence[str]) -> None:
    """Have apply carry tables of SQLite, the primary, whole: their rows on the shadow are the command's."""
    with stores.sqlite.write() as ours:
        present = sqlite_columns(ours)
        ours.executemany(
            "INSERT INTO st_change_log (tbl, k, at) VALUES (?, NULL, ?)",
            [(table, time.time()) for table in tables if table in present],
        )


def _settle(stores: Stores, control: Control, command: Sequence[str], done: Sequence[Side]) -> str:
    """Capture and bookkeeping fit the new tables, and a new verify is asked for. Returns what still differs."""
    drift = ""
    try:
        heal(stores)
        read_schema(stores.sqlite.connection, stores.postgres.connection)
    except SchemaDrift as error:
        drift = error.message
    with stores.postgres.write() as theirs:
        gone = {table: forget_dropped(theirs, table) for table in OF_TABLES}
        theirs.execute("DELETE FROM st_verify")
        evidence = {
            "command": command[0],
            "sides": [str(side) for side in done],
            "dropped": {table: n for table, n in gone.items() if n},
        }
        record(theirs, "schema migrated", control.epoch, evidence)
    with stores.sqlite.write() as ours:
        for table in ("st_change_log", "st_pending"):
            ours.execute(
                f"DELETE FROM {table} WHERE tbl NOT IN (SELECT name FROM sqlite_master WHERE type = 'table')"
            )
        # Every applier reads the schema again.
        set_fence_message(ours, fence_message(control.primary, control.epoch))
    return drift
