"""Few threads compute at a time, so that the event loop beside them gets the interpreter soon.

Many threads may wait for a broker, because waiting costs nothing. Threads that compute share one interpreter, and the
event loop gets no more of it than each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

AT_ONCE: Final = 2


class Turns:
    """At most so many threads have a turn."""

    def __init__(self, at_once: int) -> None:
        self._free = threading.Semaphore(at_once)
        self._own = threading.local()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a turn; it ends with the block."""
        self._take()
        try:
            yield
        finally:
            self._give_back()

    @contextmanager
    def given_back(self) -> Iterator[None]:
        """Let another thread compute during the block; for a thread without a turn nothing changes. No transaction may be open."""
        if not getattr(self._own, "has", False):
            yield
            return
        self._give_back()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        self._free.acquire()
        self._own.has = True

    def _give_back(self) -> None:
        self._own.has = False
        self._free.release()


DISPATCHES: Final = Turns(AT_ONCE)
