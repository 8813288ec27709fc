"""Tells waiting workers that there are new jobs.

Within the process an event is set once a group is committed. Between processes PostgreSQL notifies, if it is primary
and a server session stays ours: through a transaction pooler (ST_PG_POOLER=transaction) nobody would hear it. Whoever
cannot hear looks every `POLL_S`, or as often as the queue's work needs; who can hear looks every `LISTENING_POLL_S` too, as a notice may be lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.db.common.settings import Pooler, shim_settings
from app.services.shared.jobs.queue import Queue

logger = logging.getLogger(__name__)
POLL_S: Final = 0.2
LISTENING_POLL_S: Final = 2.0
_LOOK_S: Final = 1.0  # how long a listener waits before it sees whether it still listens at the right place


_bells: dict[str, list[Wake]] = {}


def ring(queue: Queue) -> None:
    """Wake up this process's workers of a queue, if it has any."""
    for bell in tuple(_bells.get(queue.name, ())):
        bell.ring()


class Wake:
    """The bell of one queue in this process; `start` lets it ring for other processes too.

    `poll_s`: how often somebody who cannot hear looks.
    """

    def __init__(self, queue: Queue, sessions: Callable[[], Session], poll_s: float = POLL_S) -> None:
        self._queue = queue
        self._sessions = sessions
        self._poll_s = poll_s
        self._rung = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.listening = False

    def ring(self) -> None:
        """There are new jobs."""
        self._rung.set()

    def wait(self) -> None:
        """Wait until it rings, or until it is time to look."""
        self._rung.wait(LISTENING_POLL_S if self.listening else self._poll_s)
        self._rung.clear()

    def start(self) -> None:
        """Listen in a thread of its own, unless a pooler stands in between."""
        _bells.setdefault(self._queue.name, []).append(self)
        if shim_settings().pg_pooler is Pooler.NONE:
            self._thread = threading.Thread(target=self._run, name=f"wake-{self._queue.name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Wake up the waiting ones and listen no more."""
        if self in _bells.get(self._queue.name, ()):
            _bells[self._queue.name].remove(self)
        self._stop.set()
        self.ring()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                engine = self._primary()
                if engine.dialect.name == "postgresql":
                    self._listen(engine)
                    continue
            except Exception as error:  # the primary is away or has moved; polls go on
                logger.debug("the listener of %s begins anew: %s", self._queue.name, error)
            self._stop.wait(_LOOK_S)

    def _primary(self) -> Engine:
        """The engine of the side that is primary now."""
        with self._sessions() as db:
            bind = db.get_bind()
            assert isinstance(bind, Engine)
            return bind

    def _listen(self, engine: Engine) -> None:
        """Listen while the engine is the primary's."""
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            raw: Any = connection.connection.dbapi_connection
            try:
                raw.execute(f"LISTEN {self._queue.channel}")
                self.listening = True
                self.ring()  # what came before is looked for
                while not self._stop.is_set() and self._primary() is engine:
                    until = time.monotonic() + _LOOK_S
                    for _notice in raw.notifies(timeout=_LOOK_S, stop_after=1):
                        self.ring()
                    if time.monotonic() > until + _LOOK_S:
                        break  # the process stood still: begin anew
            finally:
                self.listening = False
                connection.invalidate()  # the pool must not hand out a session that listens
