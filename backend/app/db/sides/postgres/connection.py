"""Connections to PostgreSQL for copy, apply and verify: how they are opened and what their errors mean."""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import errors as pg_errors
from psycopg import generators, pq
from sqlalchemy import URL

from app.db.common.deadline import left
from app.db.common.errors import ConfigurationError, ShadowUnavailable, first_line
from app.db.common.settings import ShimSettings
from app.db.common.urls import connect_arguments, shown
from app.db.sides.postgres.forms import (
    TRANSACTION_TIMEOUT,
    connect_with_forms,
    is_pooled,
    require_home,
    settle_session,
)

Connection = psycopg.Connection[Any]

# A host that is gone without a word is noticed after some 25 s. Settings in the URL come first.
KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}

_REST_S = 0.1  # what is left of a deadline for many statements is no figure to name below this
SILENCE_S = 0.15  # how long after a request's limit the server may keep its refusal to itself

_RETRYABLE = (
    pg_errors.OperationalError,
    pg_errors.InterfaceError,
    pg_errors.ReadOnlySqlTransaction,
    pg_errors.QueryCanceled,
    pg_errors.LockNotAvailable,
    pg_errors.SerializationFailure,
    pg_errors.DeadlockDetected,
    pg_errors.DiskFull,
)
_NOT_RETRYABLE = pg_errors.ObjectNotInPrerequisiteState  # an operational error, but of what was asked for
# What the server answers to a single row that it cannot hold. The last is a text too long for an index.
ROW_ERRORS = (pg_errors.DataError, pg_errors.IntegrityError, pg_errors.ProgramLimitExceeded)


class Unanswered(pg_errors.OperationalError):
    """The server was given up because it did not answer in time; it may still be there."""


class Stream(psycopg.ServerCursor[Any]):
    """A result that stays at the server, such as one of `yield_per`. It ends with its transaction."""

    def __init__(self, connection: BoundedConnection, *arguments: Any, **options: Any) -> None:
        super().__init__(connection, *arguments, **options)
        connection.streams.add(self)


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is given up when a statement has had no answer for `patience` seconds.

    Keep-alive probes find a host that is gone. A stopped server or a frozen proxy answers them, and nothing
    else. Without a limit a thread would wait there for as long as that lasts. `deadline` is a moment of
    `time.monotonic` that ends the waiting, too. A connection that `serves` the application, under these
    settings, never waits longer than the request. Its transactions tell the server so, and a silent server is
    given up.
    """

    patience: float | None = None
    deadline: float | None = None
    serves: ShimSettings | None = None
    asked_at: float = float("-inf")  # when the server was last asked whether it is there

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.streams: WeakSet[Stream] = WeakSet()
        self.server_cursor_factory = Stream

    def is_silent(self) -> bool:
        """Whether nothing has come in. A server that ends a connection, or dies, says so or closes it."""
        if self.closed:
            return False
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return not poll.poll(0)

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Any:
        """Connect, and inside a request no longer than this allows; the driver's own least is 2 s."""
        seconds = left()
        connecting = super()._connect_gen(conninfo)
        if seconds is None:
            return (yield from connecting)
        until = time.monotonic() + seconds
        try:
            asked = next(connecting)
            while True:
                ready = yield asked
                if not ready and time.monotonic() >= until:
                    raise pg_errors.ConnectionTimeout(
                        f"PostgreSQL could not be reached within {seconds:.3g} s"
                    )
                asked = connecting.send(ready)
        except StopIteration as done:
            return done.value

    def _start_query(self) -> Any:
        """Begin a transaction, and inside a request say in the same message how long its waits may be."""
        seconds = left() if self.serves is not None else None
        idle = self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        if seconds is None or self.serves is None or self._autocommit or self._pipeline or not idle:
            yield from super()._start_query()
            return
        limit = int(seconds * 1000)
        limits = (
            min(limit, self.serves.pg_lock_timeout_ms or limit),
            min(limit, self.serves.pg_statement_timeout_ms or limit),
        )
        self.pgconn.send_query(
            self._get_tx_start_command()
            + b"; SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d" % limits
        )
        for result in (yield from generators.execute(self.pgconn)):
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise pg_errors.error_from_result(result)

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        started = time.monotonic()
        allowed = self._allowed(started) if timeout is None else None
        if allowed is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, allowed)
        except pg_errors.OperationalError as error:
            if error.sqlstate is not None or time.monotonic() - started < allowed:
                raise
            self.close()
            how_long = "in time" if allowed < _REST_S else f"for {allowed:.3g} s"
            raise Unanswered(
                f"PostgreSQL has not answered {how_long}; the connection was given up"
            ) from error

    def _allowed(self, now: float) -> float | None:
        limits = [] if self.patience is None else [self.patience]
        if self.deadline is not None:
            limits.append(max(0.001, self.deadline - now))
        if self.serves and (seconds := left()) is not None:
            limits.append(seconds + SILENCE_S)
        return min(limits, default=None)


# The driver raises the first error of a pipeline, and then warns that the statements after it were skipped.
logging.getLogger("psycopg").addFilter(
    lambda record: not str(record.msg).startswith("error ignored terminating")
)


def open_postgres(url: URL, settings: ShimSettings, *, application_name: str) -> BoundedConnection:
    """Connect in autocommit mode, marked as ours, with values in our forms and limits on waiting.

    Raises:
        ShadowUnavailable: the server cannot be reached now.
        ConfigurationError: it can, and says no (user, password, database), or its search_path leads elsewhere.
    """
    arguments = {**KEEPALIVE, **connect_arguments(url)}
    arguments.setdefault("connect_timeout", settings.pg_connect_timeout_s)
    arguments.setdefault("application_name", application_name)
    # A role or a database may store limits that suit requests. A copy takes longer, and a look-out rests.
    limits = (
        f"-c lock_timeout={settings.pg_lock_timeout_ms} -c idle_in_transaction_session_timeout=60000 "
        "-c statement_timeout=0 -c idle_session_timeout=0 "
        # What is read behind a lock has to be of the moment in which the lock was granted.
        r"-c default_transaction_isolation=read\ committed"
    )
    arguments = connect_with_forms(arguments, settings, limits)
    try:
        connection = BoundedConnection.connect(autocommit=True, **arguments)
        try:
            settle_session(connection, settings)
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED  # behind a pooler, too
            if connection.info.server_version >= TRANSACTION_TIMEOUT and not is_pooled(settings):
                connection.execute("SET transaction_timeout = 0")  # older servers do not know the name
            require_home(connection)
        except BaseException:
            connection.close()
            raise
        return connection
    except psycopg.OperationalError as error:
        text = str(error).strip().splitlines()[-1]
        state = error.sqlstate or ""
        if state.startswith(("28", "3D")) or "authentication failed" in text or "does not exist" in text:
            raise ConfigurationError(
                f"{shown(url)} refuses the connection: {text}", hint="check user, password and database name"
            ) from None
        raise ShadowUnavailable(
            f"{shown(url)} cannot be reached: {first_line(error)}",
            hint="start PostgreSQL or check host and port",
        ) from None


@contextmanager
def all_or_nothing(connection: Connection) -> Iterator[None]:
    """A pipeline as one implicit transaction, which the server commits as a whole or not at all.

    Leaving a pipeline commits what has been sent, also after an error of our own. Only a connection that
    is closed before commits nothing.
    """
    with connection.pipeline():
        try:
            yield
        except BaseException as error:
            if getattr(error, "sqlstate", None) is None:
                connection.close()
            raise


def give_up(connection: Connection) -> None:
    """Roll back, and make the driver forget its prepared statements.

    What the server skipped after an error in a pipeline was not prepared there. The driver's own `rollback`
    forgets such statements, but does nothing outside of a transaction. After a ROLLBACK that is executed, the
    driver forgets them the first time only.
    """
    if connection.broken or connection.closed:
        return
    if connection.info.transaction_status == pq.TransactionStatus.IDLE:
        connection.execute("BEGIN")
    connection.rollback()


def is_retryable(error: BaseException) -> bool:
    """Whether waiting may mend an error, by SQLSTATE class, never by its text."""
    return isinstance(error, (*_RETRYABLE, ShadowUnavailable)) and not isinstance(
        error, (*ROW_ERRORS, _NOT_RETRYABLE)
    )
