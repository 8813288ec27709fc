"""One process at a time: a lock that a dead, cut-off or frozen process loses.

Where a SQLite file is part of the deployment, everything that writes is on its host: a lock on a file beside it.
The kernel takes it from a dead process. With PostgreSQL alone: an advisory lock of a transaction that stays open and
reads nothing, so it works through a transaction pooler and keeps no row from being cleaned up. The server ends the
transaction when the holder has been silent for `SILENCE_S`. The holder stops believing before that.

What a leader does is harmless if two do it, too: guarded updates and unique keys. The lock spares work.
"""

from __future__ import annotations

import logging
import threading
import time
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final, Protocol, TextIO

import psycopg
from sqlalchemy import URL

from app.db.common.errors import SwitchError, first_line
from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.session.runtime import Runtime
from app.db.sides.postgres.connection import BoundedConnection, open_postgres
from app.roles.metrics import LEADS

logger = logging.getLogger(__name__)
BEAT_S: Final = 2.0
BELIEF_S: Final = 8.0  # since the last beat; less than what the server waits
SILENCE_S: Final = 15
# Of a class of its own: it is no lock of the move, and takes no place in the order of those.
ADVISORY_LOCK: Final = (0x5352, 1)


class Lock(Protocol):
    """A lock that ends with its process."""

    def take(self) -> bool:
        """Take it or prove that it is still held; False when another process has it or nobody knows."""

    def let_go(self) -> None:
        """Leave it to others."""


class FileLock:
    """A lock on a file beside the database's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def take(self) -> bool:
        if self._file is not None:
            return True
        file = self._path.open("w")
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class AdvisoryLock:
    """An advisory lock in PostgreSQL, held by an open transaction."""

    def __init__(self, url: URL, settings: ShimSettings) -> None:
        self._url = url
        self._settings = settings
        self._connection: BoundedConnection | None = None

    def take(self) -> bool:
        try:
            if self._connection is not None:
                self._connection.execute("SELECT 1")
                return True
            return self._begin()
        except (psycopg.Error, SwitchError) as error:
            logger.warning("the scheduler's lock cannot be had now: %s", first_line(error))
            self.let_go()
            return False

    def let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _begin(self) -> bool:
        connection = open_postgres(self._url, self._settings, application_name="sigmatrader-scheduler")
        connection.patience = BELIEF_S / 2
        # A statement with parameters, or a prepared one, keeps its snapshot while the transaction rests. A build of an
        # index waits for every transaction that has one, and this transaction does not end.
        connection.prepare_threshold = None
        self._connection = connection
        connection.execute("BEGIN")
        connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{SILENCE_S}s'".encode())
        row = connection.execute(f"SELECT pg_try_advisory_xact_lock{ADVISORY_LOCK}".encode()).fetchone()
        if row != (True,):
            self.let_go()
            return False
        return True


def lock_for(runtime: Runtime) -> Lock:
    """The lock that fits the databases of this process."""
    path = runtime.pair.path if runtime.pair is not None else None
    if path is None and runtime.desired is Side.SQLITE:
        path = Path(runtime.url.database or "")
    if path is not None:
        return FileLock(path.with_name(path.name + ".scheduler.lock"))
    return AdvisoryLock(runtime.url, runtime.settings)


class Leadership:
    """Tries for the lock and keeps proving that it is held, in a thread of its own."""

    def __init__(self, lock: Lock, beat_s: float = BEAT_S) -> None:
        self._lock = lock
        self._beat_s = beat_s
        self._proved_at: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Give the lock to another process."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    def held(self) -> bool:
        """Whether this process may act: it proved so a short while ago."""
        proved = self._proved_at
        return proved is not None and time.monotonic() - proved < BELIEF_S

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._beat()
                self._stop.wait(self._beat_s)
        finally:
            self._proved_at = None
            LEADS.set(0)
            self._lock.let_go()

    def _beat(self) -> None:
        asked = time.monotonic()
        try:
            taken = self._lock.take()
        except Exception:  # the lead is lost, the next beat asks again
            logger.exception("the scheduler's lock could not be asked for")
            taken = False
        if taken and self._proved_at is None:
            logger.info("this process is the scheduler now")
        elif not taken and self._proved_at is not None:
            logger.warning("this process is not the scheduler any more")
        self._proved_at = asked if taken else None
        LEADS.set(taken)
