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
from dataclasses import dataclass, field

from app.db.common.errors import NotPrepared, PrimaryUnavailable
from app.db.common.metrics import FENCE_WAIT_SECONDS, FENCE_WAITS
from app.db.common.settings import ShimSettings
from app.db.common.urls import Pair, Side
from app.db.sides.control import Control, is_retired, sqlite_control, sqlite_primary
from app.db.sides.sqlite.connection import open_sqlite
from app.db.sides.sqlite.files import FileWatch

_POLL_S = 0.002
_UNPREPARED_S = 0.1  # how long "no control row" is believed


@dataclass(eq=False)
class _Reader:
    """A thread's connection to the file, used under its lock: a fork closes it from another thread."""

    thread: threading.Thread
    lock: threading.Lock = field(default_factory=threading.Lock)
    connection: sqlite3.Connection | None = None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


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
        self._readers: list[_Reader] = []
        self._resting: list[_Reader] = []  # whose locks a fork holds
        self._opening = threading.Lock()
        self._unprepared_until = 0.0
        self._retired = False
        self._line = threading.Lock()  # of those that wait at a fence: only the first of them looks

    def control(self) -> Control | None:
        """SQLite's control row as it is now. None while nothing is prepared."""
        if time.monotonic() < self._unprepared_until:
            return None
        reader = self._reader()
        with reader.lock:
            try:
                return sqlite_control(self._connection(reader))
            except NotPrepared:
                self._unprepared_until = time.monotonic() + _UNPREPARED_S
                self._retired = is_retired(self._connection(reader))  # whatever the URL names
                return None

    def _reader(self) -> _Reader:
        """This thread's own; the first time it is remembered, and those of threads that have ended are closed."""
        reader: _Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = _Reader(threading.current_thread())
            with self._opening:
                ended = [known for known in self._readers if not known.thread.is_alive()]
                self._readers = [known for known in self._readers if known not in ended] + [reader]
            for known in ended:
                known.close()
            self._local.reader = reader
        return reader

    def _connection(self, reader: _Reader) -> sqlite3.Connection:
        """Its connection to the file, for as long as its lock is held."""
        if reader.connection is None:
            self.watch.begin()
            if problem := self.watch.problem():  # what stands there now may name an earlier primary
                raise OSError(problem)
            reader.connection = open_sqlite(
                self._path, busy_timeout_ms=self._settings.sqlite_busy_timeout_ms, read_only=True
            )
        return reader.connection

    @property
    def uses_sqlite(self) -> bool:
        return any(reader.connection is not None for reader in self._readers)

    def close(self) -> None:
        """Close the connections of all threads; the router opens new ones if it is used again."""
        for reader in self._readers:
            with reader.lock:
                reader.close()

    def rest(self, patience: float) -> bool:
        """Close the connections and read nothing until `go_on`, except where a thread reads all those seconds."""
        until = time.monotonic() + patience
        if not self._opening.acquire(timeout=patience):
            return False
        for reader in self._readers:
            if reader.lock.acquire(timeout=max(0.0, until - time.monotonic())):
                self._resting.append(reader)
                reader.close()
        return True

    def go_on(self) -> None:
        """Read again."""
        while self._resting:
            self._resting.pop().lock.release()
        self._opening.release()

    def route(self) -> tuple[Side, bool]:
        """The side that reads and writes go to now, and whether that is so because a control row says so."""
        try:
            if time.monotonic() >= self._unprepared_until:
                reader = self._reader()
                with reader.lock:
                    return sqlite_primary(self._connection(reader)), True
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
