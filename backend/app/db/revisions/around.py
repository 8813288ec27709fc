"""What surrounds the revisions on each side of a prepared pair, within the transaction that runs them.

The shadow is migrated first, while its fence is up for everybody but the migrating transaction. That
permission belongs to the transaction and cannot outlive it. On PostgreSQL it is a local setting that names
the transaction's own id. On SQLite it is a mark that the same transaction takes away, and SQLite refuses a
commit before that (`blocks`). What the revisions write there is captured like any write, and announced: the
next round of apply takes these keys from the primary. So rows that come out differently on the two sides end
up as the primary has them. Examples are an id from a sequence and a default with the current time. On the
primary what the revisions write is captured and applied like any write.

PostgreSQL's transaction also puts the foreign keys back for the revisions and forgets the last verify. In the end
SQLite's schema version is made to move, because that is what tells every applier to read the schema again.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from app.db.common.errors import Refused
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Side
from app.db.revisions.runner import Hooks
from app.db.rows.catalog import postgres_keys, sqlite_keys
from app.db.rows.key_sql import announced_on_sqlite
from app.db.sides import control
from app.db.sides.capture.recapture import PostgresCapture, SqliteCapture, keep, require_keys
from app.db.sides.capture.renamed import follow_renames
from app.db.sides.capture.triggers import fence_message, install_postgres, set_fence_message
from app.db.sides.control import Control, postgres_control, sqlite_control
from app.db.sides.locks import hold_rounds, mark_migrating_postgres
from app.db.sides.phase import record
from app.db.sides.postgres import deferred
from app.db.sides.postgres.sequences import advance_sequences
from app.db.sides.sqlite.store import SqliteStore

# Tokens of transactions that have ended, whatever the primary is: a log position and a transaction id.
_ENDED = {Side.SQLITE: "0", Side.POSTGRES: "3"}
_LOCK_WAIT = "60s"  # for the applier's lock: a round of many rows takes seconds
_SQLITE_WAIT_MS = 30_000
# Bookkeeping that names tables, besides the log; each has the name in `tbl`.
OF_TABLES = (
    "st_change_log",
    "st_pending",
    "st_quarantine",
    "st_mismatch",
    "st_verify_progress",
    "st_copy_range",
    "st_spelling",
    "st_deferred_ddl",
)


def require_unchanged(now: Control, planned: Control) -> None:
    """Make sure that no switch has begun or taken place since the migration was planned.

    Raises:
        Refused: one has. Nothing was changed on this side.
    """
    if now.attempt is not None or (now.pair, now.epoch) != (planned.pair, planned.epoch):
        raise Refused(
            "the sides are being switched, or were while the migration began",
            hint="repeat the command; if it stays so, run st-migrate recover",
        )


class SqliteHooks(Hooks):
    """SQLite's side, in its one transaction under the write lock.

    Args:
        arbiter: PostgreSQL's control row when the migration was planned.
    """

    watched = True

    def __init__(self, arbiter: Control) -> None:
        self._arbiter = arbiter
        self._is_shadow = arbiter.primary is Side.POSTGRES
        self._roots: dict[str, int] = {}
        self._given: dict[str, bool] = {}
        self._log_end = 0

    def before_steps(self, connection: sa.Connection) -> None:
        raw = _sqlite(connection)
        require_unchanged(sqlite_control(raw), self._arbiter)
        self._roots = _roots(raw)
        self._log_end = raw.execute("SELECT coalesce(max(seq), 0) FROM st_change_log").fetchone()[0]
        self._capture(raw).restore()  # an earlier version's triggers do not know the mark
        if self._is_shadow:
            control.set_migrating_sqlite(raw, self._arbiter.epoch, True)
        failpoint(Failpoint.SCHEMA_OPENED)
        self._given = keep(connection, self._capture(raw))

    def after_revision(self, connection: sa.Connection) -> None:
        """Nothing to widen on SQLite."""

    def after_steps(self, connection: sa.Connection) -> None:
        raw = _sqlite(connection)
        self._capture(raw).restore()
        schema = sqlite_keys(raw)
        require_keys(schema)
        for table in ("st_change_log", "st_pending"):
            raw.execute(
                f"DELETE FROM {table} WHERE tbl NOT IN (SELECT name FROM sqlite_master WHERE type = 'table')"
            )
        if self._is_shadow:
            self._announce(raw)
        else:
            now = _roots(raw)
            same = {
                name for name, root in self._roots.items() if self._given.get(name, now.get(name) == root)
            }
            # The rows of any other table have been logged under another name, if at all.
            raw.executemany(
                "INSERT INTO st_change_log (tbl, k, at) VALUES (?, NULL, ?)",
                [(table, time.time()) for table in sorted(schema.keys() - same)],
            )

    def _capture(self, raw: sqlite3.Connection) -> SqliteCapture:
        return SqliteCapture(raw, fence_message(self._arbiter.primary, self._arbiter.epoch))

    def _announce(self, raw: sqlite3.Connection) -> None:
        raw.execute(
            "INSERT OR REPLACE INTO st_pending (tbl, k, token) "
            f"SELECT DISTINCT tbl, {announced_on_sqlite('k')}, ? FROM st_change_log WHERE seq > ? AND k IS NOT NULL",
            (_ENDED[Side.POSTGRES], self._log_end),
        )
        raw.execute("DELETE FROM st_change_log WHERE seq > ?", (self._log_end,))
        control.set_migrating_sqlite(raw, self._arbiter.epoch, False)


class PostgresHooks(Hooks):
    """What both roles of PostgreSQL need.

    Args:
        arbiter: PostgreSQL's control row when the migration was planned.
        sqlite: the other side's file.
    """

    watched = True

    def __init__(self, arbiter: Control, sqlite: Path) -> None:
        self._arbiter = arbiter
        self._sqlite = sqlite
        self._tables: dict[str, int] = {}
        self._missing: set[tuple[str, str]] = set()

    def _begin(self, raw: psycopg.Connection[Any]) -> None:
        self._tables = _numbers(raw)
        self._missing = missing_now(raw)
        _drop_broken_indexes(raw)

    def _end(self, raw: psycopg.Connection[Any]) -> None:
        """Capture and bookkeeping fit the new tables, and a new verify is asked for."""
        PostgresCapture(raw).restore()
        require_keys(postgres_keys(raw))
        for name, table in (
            missing_now(raw) - self._missing
        ):  # dropped by a revision, so never to be built again
            raw.execute("DELETE FROM st_deferred_ddl WHERE name = %s AND tbl = %s", (name, table))
        gone = {table: forget_dropped(raw, table) for table in OF_TABLES}
        raw.execute("DELETE FROM st_verify")
        versions = [row[0] for row in raw.execute("SELECT version_num FROM alembic_version").fetchall()]
        evidence = {"revision": versions, "dropped": {table: n for table, n in gone.items() if n}}
        record(raw, "schema migrated", self._arbiter.epoch, evidence)

    def _touch_sqlite(self) -> None:
        """Have every applier read the schema again."""
        store = SqliteStore(self._sqlite, busy_timeout_ms=_SQLITE_WAIT_MS)
        try:
            with store.write() as connection:
                ours = sqlite_control(connection)
                set_fence_message(connection, fence_message(ours.primary, ours.epoch))
        finally:
            store.close()


class PostgresShadowHooks(PostgresHooks):
    """PostgreSQL as the shadow: one transaction that holds the applier's lock, or one before and one after a block."""

    one_transaction = True

    def before_steps(self, connection: sa.Connection) -> None:
        self._open(_postgres(connection))
        failpoint(Failpoint.SCHEMA_OPENED)
        keep(connection, PostgresCapture(_postgres(connection)))

    def after_steps(self, connection: sa.Connection) -> None:
        self._close(_postgres(connection))
        self._touch_sqlite()

    def before_block(self, connection: sa.Connection) -> None:
        self.after_revision(connection)
        self._close(_postgres(connection))

    def after_block(self, connection: sa.Connection) -> None:
        self._open(_postgres(connection))

    def _open(self, raw: psycopg.Connection[Any]) -> None:
        """Take the applier's lock and let this transaction, and no other, pass the fence."""
        with raw.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (_LOCK_WAIT,))
            hold_rounds(raw)
            cursor.execute("SET LOCAL lock_timeout = '5s'")
        require_unchanged(postgres_control(raw, lock=True), self._arbiter)
        install_postgres(raw, {})  # an earlier version's st_admit does not know the mark
        mark_migrating_postgres(raw)
        deferred.add_foreign_keys(raw)
        raw.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with checks pending cannot be altered
        advance_sequences(raw, 0)
        self._begin(raw)

    def _close(self, raw: psycopg.Connection[Any]) -> None:
        """Announce what was written and set the foreign keys aside: as a shadow is when it is committed."""
        self._end(raw)
        raw.execute(
            "INSERT INTO st_pending (tbl, k, token) SELECT DISTINCT tbl, k, %s FROM st_change_log "
            "WHERE xid = pg_current_xact_id() AND k IS NOT NULL "
            "ON CONFLICT (tbl, k) DO UPDATE SET token = excluded.token",
            (_ENDED[Side.SQLITE],),
        )
        raw.execute("DELETE FROM st_change_log WHERE xid = pg_current_xact_id()")
        deferred.drop_foreign_keys(raw)


class PostgresPrimaryHooks(PostgresHooks):
    """PostgreSQL as the primary: each revision commits by itself, captured, between the application's writes."""

    def before_steps(self, connection: sa.Connection) -> None:
        raw = _postgres(connection)
        self._begin(raw)
        keep(connection, PostgresCapture(raw))

    def after_revision(self, connection: sa.Connection) -> None:
        super().after_revision(connection)
        raw = _postgres(connection)
        self._end(raw)
        now = _numbers(raw)
        for table in sorted(name for name, _ in now.items() - self._tables.items()):  # as on SQLite
            raw.execute("INSERT INTO st_change_log (tbl, k) VALUES (%s, NULL)", (table,))
        self._tables = now
        require_unchanged(postgres_control(raw, share=True), self._arbiter)

    def before_block(self, connection: sa.Connection) -> None:
        self.after_revision(connection)

    def after_steps(self, connection: sa.Connection) -> None:
        # Not within a revision: a round of apply owns SQLite while it waits for a table that is being changed.
        self._touch_sqlite()


def _sqlite(connection: sa.Connection) -> sqlite3.Connection:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _postgres(connection: sa.Connection) -> psycopg.Connection[Any]:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, psycopg.Connection)
    return raw


def _roots(raw: sqlite3.Connection) -> dict[str, int]:
    """Where each table stands in the file: another name does not change it, a table made anew has another place."""
    return dict(raw.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").fetchall())


def _numbers(raw: psycopg.Connection[Any]) -> dict[str, int]:
    """The number of each table that takes part, which another name does not change."""
    query = "SELECT relname, oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(%s)"
    return dict(raw.execute(query, (list(postgres_keys(raw)),)).fetchall())


def missing_now(raw: psycopg.Connection[Any]) -> set[tuple[str, str]]:
    """Indexes, constraints and keys that are remembered and do not stand: (name, table)."""
    return {(name, table) for name, table, *_ in deferred.missing(raw, "index", "constraint", "foreign_key")}


def _drop_broken_indexes(raw: psycopg.Connection[Any]) -> None:
    """Drop indexes that a concurrent build left unfinished; one that is being built is locked."""
    for (name,) in raw.execute(
        "SELECT format('%I', c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relnamespace = current_schema()::regnamespace "
        "AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid)"
    ).fetchall():
        raw.execute(f"DROP INDEX {name}".encode())


def forget_dropped(raw: psycopg.Connection[Any], bookkeeping: str) -> int:
    """Delete what is kept about tables that no longer exist. Returns how much it was."""
    if raw.execute("SELECT to_regclass(%s) IS NULL", (bookkeeping,)).fetchone() == (True,):
        return 0  # an earlier version prepared the pair
    follow_renames(raw)
    return raw.execute(
        f"DELETE FROM {bookkeeping} AS b WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.relname = b.tbl "
        "AND c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p'))".encode()
    ).rowcount
