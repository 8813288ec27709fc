"""Engines: how each side is opened for the application, and what makes the two behave alike.

SQLite: reads open no transaction; the first write or savepoint opens one with BEGIN IMMEDIATE. That is
closest to READ COMMITTED on PostgreSQL. It makes savepoints real: with the driver's default a released
savepoint commits. A transaction that reads before it writes no longer fails at once because another writer
came between.

PostgreSQL: values in one form (`forms`), limits on every kind of waiting, connections checked before use.
(What a value means there is the column types' affair, see `ddl` and `binding`.) The check looks at the
socket. The socket shows that a server has ended or has closed the connection. The check asks the server only
once in some seconds, because a question is a round trip.

Inside a request no wait outlasts what `deadline` leaves. This holds for a pooled connection, for the lock of
a row, a table or the file, and for an answer. What was not to be had in time is an `OperationalError` or
`TimeoutError`.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg.errors import ReadOnlySqlTransaction
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Connection, Engine, Pool, QueuePool, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from app.db.common.deadline import at_most, unhurried
from app.db.common.errors import Fenced
from app.db.common.settings import IN_APPLICATION, ShimSettings
from app.db.common.urls import Side, connect_arguments, side_of
from app.db.sides.capture.triggers import fence_refusal
from app.db.sides.postgres.connection import KEEPALIVE, BoundedConnection
from app.db.sides.postgres.forms import begin_with_forms, connect_with_forms, is_pooled, settle_session
from app.db.sides.sqlite.turn import WriteTurn, turn_at

ASK_EVERY_S = 5.0
SILENCE_S = 5.0  # how long after its own time-out the server may keep a statement unanswered

_READS = re.compile(
    r"\s*(?:--[^\n]*\n\s*)*(SELECT|VALUES|PRAGMA|EXPLAIN|SHOW|RELEASE|ROLLBACK|COMMIT|SET)\b", re.I
)
_WITH = re.compile(r"\s*WITH\b", re.I)
_WRITES_WITHIN = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE|MERGE)\b", re.I)


def is_write(statement: str, context: Any = None) -> bool:
    """Whether a statement may write; a doubtful one counts as a write."""
    compiled = getattr(context, "compiled", None) is not None
    if compiled and (context.isinsert or context.isupdate or context.isdelete):
        return True
    if _READS.match(statement):
        return False
    return not _WITH.match(statement) or _WRITES_WITHIN.search(statement) is not None


class PoolInTime(QueuePool):
    """A pool in which a request waits for a connection no longer than it may wait for anything."""

    @property
    def _timeout(self) -> float:  # read by QueuePool at each checkout
        return at_most(self._longest)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self._longest = seconds

    def recreate(self) -> QueuePool:
        with unhurried():
            return super().recreate()


def _poolclass(url: URL) -> type[Pool]:
    """A file's connections are pooled; a database in memory has one, as SQLAlchemy chooses it."""
    dialect: Any = url.get_dialect()
    usual: type[Pool] = dialect.get_pool_class(url)
    return PoolInTime if usual is QueuePool else usual


def make_engine(
    url: URL, settings: ShimSettings, *, echo: bool = False, pool_timeout_s: float = 30.0
) -> Engine:
    """An engine for one side, with everything above in place.

    `pool_timeout_s`: the longest wait for one of PostgreSQL's pooled connections.
    """
    if side_of(url) is Side.SQLITE:
        engine = create_engine(
            url,
            echo=echo,
            poolclass=_poolclass(url),
            connect_args={"check_same_thread": False, "timeout": settings.sqlite_busy_timeout_ms / 1000},
        )
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "checkout", _be_busy_at_most(settings.sqlite_busy_timeout_ms))
        event.listen(engine, "before_cursor_execute", begin_before_write)
    else:
        engine = create_engine(
            url,
            echo=echo,
            poolclass=PoolInTime,
            pool_pre_ping=True,
            # The connection of the last transaction is the next one's: the server has its statements and plans at hand.
            pool_use_lifo=True,
            pool_size=settings.pg_pool_size,
            max_overflow=settings.pg_pool_size,
            pool_timeout=pool_timeout_s,
            pool_recycle=1800,
            connect_args=_postgres_arguments(url, settings),
        )
        _ask_seldom(engine.dialect)
        event.listen(engine, "do_connect", _connect_patiently)
        event.listen(engine, "connect", lambda raw, record: setattr(raw, "serves", settings))
        event.listen(engine, "connect", lambda raw, record: settle_session(raw, settings))
        if is_pooled(settings):
            # Not an event: what breaks in a dialect's own step has SQLAlchemy's name, and a pooler may refuse here.
            dialect: Any = engine.dialect
            dialect.do_begin = lambda raw: begin_with_forms(raw.dbapi_connection, settings)
        if settings.pg_statement_timeout_ms:
            patience = settings.pg_statement_timeout_ms / 1000 + SILENCE_S
            event.listen(engine, "connect", lambda raw, record: setattr(raw, "patience", patience))
    event.listen(engine, "handle_error", name_the_fence)
    event.listen(engine, "checkin", _leave_no_transaction)
    if side_of(url) is Side.SQLITE:
        event.listen(engine, "checkin", lambda raw, record: _turn_of(url).let_go())
    return engine


def _postgres_arguments(url: URL, settings: ShimSettings) -> dict[str, Any]:
    arguments: dict[str, Any] = {name: n for name, n in KEEPALIVE.items() if name not in url.query}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = settings.pg_connect_timeout_s
    if "application_name" not in url.query:
        arguments["application_name"] = "sigmatrader" if IN_APPLICATION else "st-app"
    if "options" in url.query:
        arguments["options"] = connect_arguments(url)["options"]
    limits = (
        f"-c lock_timeout={settings.pg_lock_timeout_ms} "
        f"-c statement_timeout={settings.pg_statement_timeout_ms} "
        f"-c idle_in_transaction_session_timeout={settings.pg_idle_transaction_timeout_ms}"
    )
    return connect_with_forms(arguments, settings, "" if "options" in url.query else limits)


def _ask_seldom(dialect: Any) -> None:
    """Let the check before use ask the server only when the socket has something, or after some seconds."""
    ask: Callable[[BoundedConnection], bool] = dialect.do_ping

    def is_there(connection: BoundedConnection) -> bool:
        now = time.monotonic()
        if now - connection.asked_at < ASK_EVERY_S and connection.is_silent():
            return True
        answered = ask(connection)
        connection.asked_at = now
        return answered

    dialect.do_ping = is_there


def _connect_patiently(dialect: Any, record: Any, arguments: Any, options: Any) -> BoundedConnection:
    return BoundedConnection.connect(*arguments, **options)


def _sqlite_connected(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # no transaction but those that begin_before_write opens


def _be_busy_at_most(usual_ms: int) -> Callable[..., None]:
    """Bounds a connection's waits for the file by the request that takes it from the pool."""

    def checked_out(connection: sqlite3.Connection, record: ConnectionPoolEntry, proxy: Any) -> None:
        allowed = int(at_most(usual_ms / 1000) * 1000)
        if allowed != record.info.get("st_busy_ms", usual_ms):
            connection.execute(f"PRAGMA busy_timeout = {allowed}")
            record.info["st_busy_ms"] = allowed

    return checked_out


def begin_before_write(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    """Open the transaction with the write lock in hand, before the first write or savepoint."""
    raw = connection.connection.dbapi_connection
    if not isinstance(raw, sqlite3.Connection) or raw.in_transaction or commits_each(connection):
        return
    if is_write(statement, context):
        begin_in_turn(connection)


def commits_each(connection: Connection) -> bool:
    """Whether the application wants each statement to commit by itself, so that nobody will commit a transaction."""
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


def begin_in_turn(connection: Connection, at_most_ms: int | None = None) -> None:
    """Take SQLite's write lock in the line of this process, within the connection's own patience or a shorter one.

    Raises:
        OperationalError: others held the lock for that long.
    """
    raw: Any = connection.connection.dbapi_connection
    usual = raw.execute("PRAGMA busy_timeout").fetchone()[0]
    patience = usual if at_most_ms is None else min(usual, at_most_ms)
    with named_by_sqlalchemy():
        _turn_of(connection.engine.url).begin(raw, patience, usual)


def _turn_of(url: URL) -> WriteTurn:
    return turn_at(url.database or ":memory:")


@contextmanager
def named_by_sqlalchemy() -> Iterator[None]:
    """A lock that was not to be had is SQLAlchemy's `OperationalError`, as if it had sent the statement."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OperationalError("BEGIN IMMEDIATE", None, error) from error


def is_unavailable(error: BaseException) -> bool:
    """Whether a database could not serve now, so that the same request may succeed in a moment."""
    if isinstance(error, PoolTimeout) or getattr(error, "connection_invalidated", False):
        return True
    original = getattr(error, "orig", None)
    return isinstance(error, (OperationalError, InterfaceError)) or isinstance(
        original, ReadOnlySqlTransaction
    )


def _leave_no_transaction(connection: Any, record: Any) -> None:
    """Roll back what a failed COMMIT left open: SQLAlchemy takes such a transaction for ended.

    Without this the next user of the pooled connection would commit it along with its own.
    """
    if connection is None:
        return
    raw = getattr(connection, "driver_connection", connection)
    if isinstance(raw, sqlite3.Connection):
        if raw.in_transaction:
            raw.rollback()
        # SQLAlchemy takes AUTOCOMMIT of one checkout back to its own default, not to ours.
        if raw.isolation_level is not None:
            raw.isolation_level = None
    elif not raw.closed and raw.info.transaction_status is not TransactionStatus.IDLE:
        raw.rollback()


def name_the_fence(context: ExceptionContext) -> None:
    """A write that the fence refused raises `Fenced`, whichever side and driver it came from."""
    original = context.original_exception
    if (refusal := fence_refusal(original)) is not None:
        raise Fenced(refusal, hint="the primary has moved; try again") from original
