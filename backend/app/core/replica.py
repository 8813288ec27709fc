"""Listings read a streaming replica, as long as it is known to be no older than a setting allows.

    a thread, some times per limit:  note the time -> ask the primary how far it has written
                                                   -> ask the replica how far it has replayed
    what the primary had written at a noted time is replayed  =>  the replica is no older than that time

No clock of another machine counts, and an idle primary makes a replica no older. The replica is not used when it does not
answer, replays too late, belongs to another cluster or timeline, or has been promoted; and when the primary does not
answer, because then nobody can tell. A listing reads the primary then, as without this setting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, TextClause, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.metrics import AGE, READS
from app.db.common.errors import SwitchError, first_line
from app.db.common.settings import shim_settings
from app.db.session.engines import make_engine

logger = logging.getLogger(__name__)
LOOKS_PER_LIMIT: Final = 4
# The control file names cluster and timeline. After a failover a replica agrees once it has finished a restart point.
_IDENTITY: Final = (
    "(SELECT system_identifier FROM pg_control_system())::text || '/' || "
    "(SELECT timeline_id FROM pg_control_checkpoint())"
)
_WRITTEN: Final = text(
    f"SELECT {_IDENTITY}, pg_current_wal_flush_lsn() - '0/0' WHERE NOT pg_is_in_recovery()"
)
_REPLAYED: Final = text(f"SELECT {_IDENTITY}, pg_last_wal_replay_lsn() - '0/0' WHERE pg_is_in_recovery()")


class Replica:
    """A replica of PostgreSQL, and how old it is.

    Args:
        url: where it is. limit_s: how old it may be.
        primary: makes a session on the primary; while that is SQLite, the replica is not used.
    """

    def __init__(self, url: str, limit_s: float, primary: Callable[[], Session]) -> None:
        self._engine = make_engine(make_url(url), shim_settings())
        self._limit_s = limit_s
        self._primary = primary
        self._written: deque[tuple[float, str, int]] = deque()
        self._as_of = float("-inf")
        self._said: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica", daemon=True)

    def start(self) -> None:
        """Begin to look at both servers."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and close the connections."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(10)
        self._engine.dispose()

    @property
    def staleness_s(self) -> float:
        """How old the replica may be at most, in seconds; infinite when nobody can tell."""
        return time.monotonic() - self._as_of

    @contextmanager
    def session(self) -> Iterator[Session | None]:
        """A session that only reads, on the replica; None when it may not be used."""
        if self.staleness_s > self._limit_s:
            READS.labels("primary").inc()
            yield None
            return
        with Session(self._engine, autoflush=False, expire_on_commit=False) as db:
            try:
                db.connection()
            except SQLAlchemyError as error:
                self._lose(first_line(error))
                READS.labels("primary").inc()
                yield None
                return
            READS.labels("replica").inc()
            yield db

    def look(self) -> None:
        """Compare both servers once.

        Raises:
            SQLAlchemyError, SwitchError: one of them did not answer; the replica only grows older.
        """
        at = time.monotonic()
        written = self._written_now()
        if written is not None:
            self._written.append((at, *written))
        with self._engine.connect() as connection:
            replayed = _asked(connection, _REPLAYED)
        if written is None or replayed is None or written[0] != replayed[0]:
            self._written.clear()
            self._lose("it is no replica of the primary, on the same timeline")
            return
        while self._written and self._written[0][2] <= replayed[1]:
            self._as_of = self._written.popleft()[0]
        AGE.set(self.staleness_s)
        self._say(
            "the replica serves listings" if self.staleness_s <= self._limit_s else "the replica is behind"
        )

    def _written_now(self) -> tuple[str, int] | None:
        with self._primary() as db:
            bind = db.get_bind()
            if not isinstance(bind, Engine) or bind.dialect.name != "postgresql":
                return None
            return _asked(db.connection(), _WRITTEN)

    def _run(self) -> None:
        while not self._stop.wait(self._limit_s / LOOKS_PER_LIMIT):
            try:
                self.look()
            except (SQLAlchemyError, SwitchError) as error:
                AGE.set(self.staleness_s)
                self._say(f"nobody can tell how old the replica is: {first_line(error)}")
            while len(self._written) > 2 * LOOKS_PER_LIMIT:  # too old to be of use when they are replayed
                self._written.popleft()

    def _lose(self, why: str) -> None:
        self._as_of = float("-inf")
        AGE.set(float("inf"))
        self._say(f"listings read the primary: {why}")

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            logger.warning("%s", what)


def _asked(connection: Connection, query: TextClause) -> tuple[str, int] | None:
    row = connection.execute(query).one_or_none()
    return None if row is None else (str(row[0]), int(row[1]))


def replica_of(settings: Settings, primary: Callable[[], Session]) -> Replica | None:
    """The replica of this deployment; None without ST_REPLICA_DATABASE_URL."""
    url = settings.replica_database_url.strip()
    return Replica(url, settings.replica_max_staleness_ms / 1000, primary) if url else None
