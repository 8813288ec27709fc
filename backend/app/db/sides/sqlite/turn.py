"""The line in front of SQLite's write lock, for the threads of one process.

SQLite keeps no queue: a thread that finds the lock taken sleeps and asks again. Threads that ask often take
the processor from the one that holds the lock, threads that ask seldom starve. So they stand in line, and
only the first asks. It is woken when a thread of this process lets go. Otherwise it looks about every
millisecond, for other processes. It leaves the line as soon as it holds the lock. So nothing that happens, or
fails to happen, in a transaction can block the line.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from pathlib import Path

_LOOK_S = (0.0005, 0.0015)
_turns: dict[str, WriteTurn] = {}
os.register_at_fork(after_in_child=_turns.clear)  # a line's lock may have been taken at the fork


class WriteTurn:
    """One file's line. See `turn_at`."""

    def __init__(self) -> None:
        self._line = threading.Lock()
        self._let_go = threading.Event()
        self._waited_for = False  # whether the first in line found the lock taken

    def begin(self, connection: sqlite3.Connection, timeout_ms: int, usual_ms: int | None = None) -> None:
        """Take the write lock (BEGIN IMMEDIATE) when it is this thread's turn.

        Args:
            timeout_ms: how long to try.
            usual_ms: how patient the connection is afterwards; None: as long as this time.

        Raises:
            sqlite3.OperationalError: others held the lock for longer than the timeout.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        in_line = self._line.acquire(timeout=timeout_ms / 1000)
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            if not self._try(connection, last=not in_line):
                self._wait(connection, deadline)
        finally:
            if in_line:
                self._line.release()
            connection.execute(f"PRAGMA busy_timeout = {timeout_ms if usual_ms is None else usual_ms}")

    def _wait(self, connection: sqlite3.Connection, deadline: float) -> None:
        """Ask again whenever somebody lets go, and now and then. For the first in line."""
        self._waited_for = True
        try:
            while True:
                self._let_go.clear()  # before it asks: what is let go from here on wakes it
                if self._try(connection, last=time.monotonic() >= deadline):
                    return
                self._let_go.wait(random.uniform(*_LOOK_S))
        finally:
            self._waited_for = False

    def _try(self, connection: sqlite3.Connection, *, last: bool) -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if last or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def let_go(self) -> None:
        """A transaction of this process has ended; forgetting to say so costs a millisecond, no more."""
        if self._waited_for:
            self._let_go.set()


def turn_at(path: Path | str) -> WriteTurn:
    """The line in front of one file, the same for all of this process."""
    name = os.path.abspath(path)  # noqa: PTH100 - each transaction asks, and a Path costs more than the rest
    return _turns.get(name) or _turns.setdefault(name, WriteTurn())
