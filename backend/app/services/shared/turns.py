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
        """Wait for a turn; it ends with the block at the latest."""
        self._free.acquire()
        self._own.has = True
        try:
            yield
        finally:
            self.give_back()

    def give_back(self) -> None:
        """End the turn of this thread before its block does; a thread without a turn has none to give.

        A thread that waits for somebody outside calls this. It does not wait for another turn afterwards, because
        what it was told must be stored at once.
        """
        if getattr(self._own, "has", False):
            self._own.has = False
            self._free.release()


DISPATCHES: Final = Turns(AT_ONCE)
