"""How late an event loop is: what it sees now has been waiting for about that long.

A loop with too much to do reads a request long after it arrived, and nothing in the request says so. While
deliveries come, a timer tells by how much the loop is behind.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

BEAT_S: Final = 0.02
REST_AFTER_S: Final = 1.0  # without deliveries nothing beats


class Pulse:
    """The lateness of the event loop of this process."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = self._asked = 0.0
        self._late = 0.0

    def lateness_s(self) -> float:
        """By how many seconds the running loop is behind; called on it."""
        now = self._asked = time.monotonic()
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._late = loop, 0.0
            self._beat_later(loop, now)
        return max(self._late, now - self._due)

    def _beat_later(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._due = now + BEAT_S
        loop.call_later(BEAT_S, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        now = time.monotonic()
        self._late = max(0.0, now - self._due)
        if now - self._asked > REST_AFTER_S:
            self._loop = None
        else:
            self._beat_later(loop, now)
