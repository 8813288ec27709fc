"""The locks by which processes exclude each other, and the mark by which an applier passes the fence.

All of them end with their transaction, so they work through a transaction pooler and a dead process holds
none. On PostgreSQL they are taken in this order. A transaction takes those it needs and leaves out the rest:

1. the runner's lock: one Alembic run at a time, in a transaction of its own that stays open;
2. the rounds' lock, which is the row of `st_watermark`: a round of apply has it exclusively before it reads
   the primary. The commit of a switch, a migration of the shadow, a rehearsal and the end of the copy take it
   likewise. The chunks of a copy share it among themselves;
3. the builders' lock: one process at a time builds an index that was set aside;
4. the writers' lock: every application's write shares it (`capture/postgres.sql`). Raising the fence takes
   it exclusively, and so waits for all writers in flight;
5. the control row.

`prepare`, `complete` and `abort` come before all of these, with a lock that nobody waits for in the database.

Tables stand outside this order. A writer has locked its table when it comes to the writers' lock. So the
transaction that raises the fence touches no table of the application. A migration of the shadow is the one
that writes rows behind the control row. While the migration holds that row, no attempt can begin, and nobody
waits for the writers.

On SQLite the write lock is all of them at once, with a line in front of it (`sqlite.turn`). A round towards
SQLite takes that lock and then only reads PostgreSQL. No database sees a deadlock that goes through both.
SQLite's busy time-out and PostgreSQL's lock_timeout end such a wait.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from app.db.common.urls import Side
from app.db.rows.catalog import literal
from app.db.sides.control import set_applying_sqlite

Postgres = psycopg.Connection[Any]
# Advisory locks. Any number will do, as long as all versions on a database use the same. The class spells
# "ST".
_CLASS = 0x5354
WRITER_LOCK = (_CLASS, 1)
_BUILDER_LOCK = (_CLASS, 2)
_ENDS_LOCK = (_CLASS, 3)
TAKE_RUNNER_LOCK = f"SELECT pg_advisory_xact_lock({0x5354_4D49_4752})"
MIGRATING = "st.migrating"  # a setting of one transaction; it counts while it names that transaction
APPLYING = "st.applying"  # a setting of one transaction; it counts while it names the present epoch

# False while apply writes, as a trigger's condition.
QUIET = {
    Side.POSTGRES: "coalesce(current_setting('st.applying', true), '') = ''",
    Side.SQLITE: "(SELECT applying FROM st_control) = 0",
}


def hold_rounds(connection: Postgres, *, shared: bool = False) -> None:
    """Keep rounds of apply from taking place until this transaction ends; waits for one that is under way.

    Args:
        shared: let others hold them as well.
    """
    clause = "SHARE" if shared else "UPDATE"
    connection.execute(f"SELECT 1 FROM st_watermark WHERE id = 1 FOR {clause}".encode())


def hold_writers(connection: Postgres) -> None:
    """Wait for every application's write in flight, and keep new ones waiting until this transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", WRITER_LOCK)


_HOLDERS = """
SELECT a.pid, coalesce(nullif(a.application_name, ''), 'without a name'), a.state,
  round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared)))::int, p.gid
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
  AND x.virtualtransaction = l.virtualtransaction
LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
WHERE l.locktype = 'advisory' AND l.classid = %s AND l.objid = %s AND l.granted
AND l.pid IS DISTINCT FROM pg_backend_pid()
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY coalesce(a.xact_start, p.prepared)
"""


def writers_in_flight(connection: Postgres) -> list[str]:
    """The sessions that write on PostgreSQL now and so keep the fence down, the oldest transaction first."""
    return [
        f"pid {pid} ({name}, {state}) since {seconds} s"
        if pid is not None
        else f"a prepared transaction since {seconds} s (end it: COMMIT PREPARED {literal(gid or '')}, or ROLLBACK PREPARED)"
        for pid, name, state, seconds, gid in connection.execute(_HOLDERS, WRITER_LOCK).fetchall()
    ]


_READERS = """
SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), 'without a name'), a.state,
  round(extract(epoch FROM clock_timestamp() - a.xact_start))::int
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
JOIN pg_constraint c ON c.contype = 'f' AND l.relation IN (c.conrelid, c.confrelid)
WHERE l.locktype = 'relation' AND l.granted AND a.application_name <> current_setting('application_name') AND a.xact_start IS NOT NULL
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND c.connamespace = current_schema()::regnamespace
ORDER BY 4 DESC
"""


def readers_of_keys(connection: Postgres) -> list[str]:
    """Whose transactions keep foreign keys of PostgreSQL from being dropped, the oldest first; readers do that, too."""
    return [
        f"pid {pid} ({name}, {state}) since {seconds} s"
        for pid, name, state, seconds in connection.execute(_READERS).fetchall()
    ]


def hold_builders(connection: Postgres) -> None:
    """Be the only one who builds indexes until this transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", _BUILDER_LOCK)


def try_hold_ends(connection: Postgres) -> bool:
    """Be the only one who begins or ends a move, until this transaction ends; it may stay open for long."""
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", _ENDS_LOCK).fetchone()
    return row == (True,)


def mark_applying_postgres(connection: Postgres, epoch: int) -> None:
    """Let this transaction pass fence and capture for as long as the pair is at this epoch."""
    connection.execute("SELECT set_config(%s, %s, true)", (APPLYING, str(epoch)))


def mark_migrating_postgres(connection: Postgres) -> None:
    """Let this transaction, and no other, pass the fence; what it writes is captured."""
    connection.execute("SELECT set_config(%s, pg_current_xact_id()::text, true)", (MIGRATING,))


@contextmanager
def applying_sqlite(connection: sqlite3.Connection) -> Iterator[None]:
    """Let what is written in this block pass fence and capture; it lies within one write transaction.

    The mark is a column of the control row, which nobody else can see set. The transaction that sets it
    clears it, or is rolled back.
    """
    set_applying_sqlite(connection, True)
    yield
    set_applying_sqlite(connection, False)
