"""The router: which side is primary now, and the place where transactions wait while that changes.

SQLite's control row is the routing hint, read at the start of every transaction. It is local and costs
microseconds. It is brought up to date right after the commit record of a switch. No writer of the new primary
can have been acknowledged before that. The row is only a hint; the fence inside each database is what holds.
If the file cannot be read, PostgreSQL's own row is asked.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable

from app.db.common.errors import NotPrepared, PrimaryUnavailable
from app.db.common.metrics import FENCE_WAIT_SECONDS, FENCE_WAITS
from app.db.common.settings import ShimSettings
from app.db.common.urls import Pair, Side
from app.db.sides.control import Control, is_retired, sqlite_control, sqlite_primary
from app.db.sides.sqlite.connection import open_sqlite
from app.db.sides.sqlite.files import FileWatch

_POLL_S = 0.002
_UNPREPARED_S = 0.1  # how long "no control row" is believed


class Router:
    """Routes and holds the transactions of one process.

    Args:
        pair: both sides.
        desired: the side that ST_DATABASE_URL names; it serves while nothing is prepared.
        settings: how long a transaction is held.
        ask_arbiter: reads PostgreSQL's control row, for when SQLite's cannot be read.
    """

    def __init__(
        self, pair: Pair, desired: Side, settings: ShimSettings, ask_arbiter: Callable[[], Control]
    ) -> None:
        self._path = pair.path
        self.watch = FileWatch(pair.path)
        self._desired = desired
        self._settings = settings
        self._ask_arbiter = ask_arbiter
        self._local = threading.local()
        self._opened: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._opening = threading.Lock()
        self._unprepared_until = 0.0
        self._retired = False
        self._line = threading.Lock()  # of those that wait at a fence: only the first of them looks

    def control(self) -> Control | None:
        """SQLite's control row as it is now. None while nothing is prepared."""
        if time.monotonic() < self._unprepared_until:
            return None
        try:
            return sqlite_control(self._connection())
        except NotPrepared:
            self._unprepared_until = time.monotonic() + _UNPREPARED_S
            self._retired = is_retired(self._connection())  # whatever the URL names
            return None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self.watch.begin()
            if problem := self.watch.problem():  # what stands there now may name an earlier primary
                raise OSError(problem)
            connection = open_sqlite(
                self._path, busy_timeout_ms=self._settings.sqlite_busy_timeout_ms, read_only=True
            )
            self._local.connection = connection
            self._keep(connection)
        return connection

    def _keep(self, connection: sqlite3.Connection) -> None:
        """Remember this thread's connection, and close those of threads that have ended."""
        with self._opening:
            left = [opened for thread, opened in self._opened if not thread.is_alive()]
            self._opened = [item for item in self._opened if item[1] not in left]
            self._opened.append((threading.current_thread(), connection))
        for opened in left:
            opened.close()

    @property
    def uses_sqlite(self) -> bool:
        return bool(self._opened)

    def close(self) -> None:
        """Close the connections of all threads; the router opens new ones if it is used again."""
        self._local = threading.local()
        with self._opening:
            opened, self._opened = self._opened, []
        for _, connection in opened:
            connection.close()

    def route(self) -> tuple[Side, bool]:
        """The side that reads and writes go to now, and whether that is so because a control row says so."""
        try:
            if time.monotonic() >= self._unprepared_until:
                return sqlite_primary(self._connection()), True
        except (sqlite3.Error, OSError, TypeError):
            pass
        return self._route_with_care()

    def _route_with_care(self) -> tuple[Side, bool]:
        """The same where there is no control row, or none that can be read."""
        control = self.control_of_somebody()
        if control is not None:
            return control.primary, True
        return (Side.POSTGRES if self._retired else self._desired), False

    def control_of_somebody(self) -> Control | None:
        """SQLite's control row, or the arbiter's if the file cannot be read."""
        try:
            return self.control()
        except (sqlite3.Error, OSError):
            return self._ask_arbiter()

    def primary(self) -> Side:
        """The side that reads and writes go to now."""
        return self.route()[0]

    @property
    def prepared(self) -> bool:
        return self.control() is not None

    def hold(self, refused_by: Side, may_write: Callable[[], bool], deadline: float) -> None:
        """Wait after a refusal until the primary has moved or takes writes again.

        Args:
            refused_by: the side whose fence is up.
            may_write: asks PostgreSQL whether it takes writes again (an attempt was aborted). What SQLite
                says is in its control row.
            deadline: the moment of `time.monotonic` at which this transaction has waited long enough.

        Raises:
            PrimaryUnavailable: that moment came.
        """
        FENCE_WAITS.inc()
        started = time.monotonic()
        in_line = self._line.acquire(timeout=max(0.0, deadline - started))
        try:
            while not (in_line and self._is_over(refused_by, may_write)):
                if time.monotonic() >= deadline:
                    raise PrimaryUnavailable(
                        f"{refused_by} has taken no writes for {(time.monotonic() - started) * 1000:.0f} ms",
                        hint="a switch is under way; send the request again",
                    )
                time.sleep(_POLL_S)
        finally:
            if in_line:
                self._line.release()
            FENCE_WAIT_SECONDS.observe(time.monotonic() - started)

    def _is_over(self, refused_by: Side, may_write: Callable[[], bool]) -> bool:
        control = self.control_of_somebody()
        if control is None or control.primary is not refused_by:
            return True
        return control.writable if refused_by is Side.SQLITE else may_write()
