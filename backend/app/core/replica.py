"""Listings read a streaming replica, as long as it is known to be no older than a setting allows.

    a thread, some times per limit:  note the time -> ask the primary how far it has written
                                                   -> ask the replica how far it has replayed
    what the primary had written at a noted time is replayed  =>  the replica is no older than that time

No clock of another machine counts, and an idle primary makes a replica no older. The replica is not used when it does not
answer, replays too late, belongs to another cluster or timeline, or has been promoted; and when the primary does not
answer, because then nobody can tell. A listing reads the primary then, as without this setting. A statement that the
replica ends (a conflict with what it replays, its own end) is repeated on the primary, which the request does not notice.

The looks have connections of their own: listings that fill a pool make a replica no older. A full pool is no loss of the replica
either; the listing reads the primary.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, TextClause, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.metrics import AGE, READS
from app.db.common.errors import SwitchError, first_line
from app.db.common.settings import shim_settings
from app.db.session.engines import is_unavailable, make_engine

logger = logging.getLogger(__name__)
LOOKS_PER_LIMIT: Final = 4
FULL_AFTER_S: Final = 0.2  # a listing waits so long for the replica's pool, and reads the primary then
# The control file names cluster and timeline. After a failover a replica agrees once it has finished a restart point.
_IDENTITY: Final = (
    "(SELECT system_identifier FROM pg_control_system())::text || '/' || "
    "(SELECT timeline_id FROM pg_control_checkpoint())"
)
_WRITTEN: Final = text(
    f"SELECT {_IDENTITY}, pg_current_wal_flush_lsn() - '0/0' WHERE NOT pg_is_in_recovery()"
)
_REPLAYED: Final = text(f"SELECT {_IDENTITY}, pg_last_wal_replay_lsn() - '0/0' WHERE pg_is_in_recovery()")


class OnReplica(Session):
    """A session that only reads, on the replica; what the replica cannot finish is read from the primary.

    Whether the replica is lost is seen when the next listing takes a connection.

    Args:
        instead: the request's own session.
    """

    def __init__(self, engine: Engine, instead: Session) -> None:
        super().__init__(engine, autoflush=False, expire_on_commit=False)
        self._instead = instead
        self._has_ended = False

    def execute(self, *args: Any, **more: Any) -> Any:
        """As `Session.execute`."""
        return self._read(super().execute, self._instead.execute, *args, **more)

    def scalars(self, *args: Any, **more: Any) -> Any:
        """As `Session.scalars`."""
        return self._read(super().scalars, self._instead.scalars, *args, **more)

    def scalar(self, *args: Any, **more: Any) -> Any:
        """As `Session.scalar`."""
        return self._read(super().scalar, self._instead.scalar, *args, **more)

    def _read(self, here: Callable[..., Any], there: Callable[..., Any], *args: Any, **more: Any) -> Any:
        if not self._has_ended:
            try:
                return here(*args, **more)
            except SQLAlchemyError as error:
                if not is_unavailable(error):
                    raise
                self._has_ended = True
                self.expunge_all()  # what was read stays as it was read
                self.rollback()
                READS.labels("primary").inc()
                logger.info("the replica ended a listing, which reads the primary: %s", first_line(error))
        return there(*args, **more)


class Replica:
    """A replica of PostgreSQL, and how old it is.

    Args:
        url: where it is. limit_s: how old it may be.
        primary: makes a session on the primary; while that is SQLite, the replica is not used.
    """

    def __init__(self, url: str, limit_s: float, primary: Callable[[], Session]) -> None:
        settings = shim_settings()
        self._engine = make_engine(make_url(url), settings, pool_timeout_s=FULL_AFTER_S)
        self._looking = settings.model_copy(update={"pg_pool_size": 1})
        self._looks: dict[URL, Engine] = {}
        self._url = make_url(url)
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
        for engine in (self._engine, *self._looks.values()):
            engine.dispose()

    @property
    def staleness_s(self) -> float:
        """How old the replica may be at most, in seconds; infinite when nobody can tell."""
        return time.monotonic() - self._as_of

    @contextmanager
    def session(self, instead: Session) -> Iterator[Session]:
        """A session that only reads: on the replica while that may be used, else `instead`, the one on the primary."""
        if self.staleness_s > self._limit_s:
            READS.labels("primary").inc()
            yield instead
            return
        with OnReplica(self._engine, instead) as db:
            try:
                db.connection()
            except SQLAlchemyError as error:
                if not isinstance(error, PoolTimeout):  # a full pool says nothing about the replica
                    self._lose(first_line(error))
                READS.labels("primary").inc()
                yield instead
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
        replayed = self._asked(self._url, _REPLAYED)
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
        return self._asked(bind.url, _WRITTEN)

    def _asked(self, url: URL, query: TextClause) -> tuple[str, int] | None:
        if url not in self._looks:
            self._looks[url] = make_engine(url, self._looking)
        with self._looks[url].connect() as connection:
            return _asked(connection, query)

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
