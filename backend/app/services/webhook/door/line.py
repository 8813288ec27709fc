"""The line in front of the writer: bounded, and honest about how long it is.

A delivery is let in when its predicted wait is short enough to be answered in time. The prediction is the
length of the line times the time that one delivery took lately. What fits into one group is always let in.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from app.core.errors import Busy
from app.services.webhook.door import metrics
from app.services.webhook.door.waiting import Waiting

GROUP: Final = 500  # deliveries in one transaction, at most
_FADING: Final = 0.8  # what a group counts in the next group's prediction
_AT_FIRST_S: Final = 0.0005  # what a delivery takes, as long as nothing was measured
_AT_LEAST: Final = 200  # a small group costs a transaction, and says nothing about what one delivery costs
_ANOTHER_PACE: Final = 4  # a group that is so many times as fast as predicted says that a stall is over
TOO_MANY: Final = "Too many deliveries at once; send it again."


class Line:
    """Deliveries in the order of their arrival."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self._arrived = threading.Condition()
        self._closed = False
        self._in_hand = 0
        self._seconds, self._deliveries = 0.0, 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def check(self, at_most: int, max_wait_s: float, waited_s: float = 0.0) -> None:
        """Raise `Busy` if another delivery, which has waited already, could not be served in time."""
        if len(self._waiting) >= at_most:
            metrics.FULL.inc()
            raise Busy(TOO_MANY)
        ahead = len(self._waiting) + self._in_hand
        ahead_s = self.predicted_wait_s(ahead) if ahead >= GROUP else 0.0
        if waited_s + ahead_s > max_wait_s:
            metrics.WAIT.inc()
            raise Busy(TOO_MANY)

    def predicted_wait_s(self, ahead: int) -> float:
        """How long a delivery waits that has so many ahead of it."""
        return ahead * (self._seconds / self._deliveries if self._deliveries else _AT_FIRST_S)

    def join(self, one: Waiting) -> None:
        """Put a delivery at the end of the line."""
        with self._arrived:
            self._waiting.append(one)
            self._arrived.notify()

    def rejoin(self, group: Sequence[Waiting]) -> None:
        """Put deliveries at the head of the line, in their order: they have waited already."""
        with self._arrived:
            self._waiting.extendleft(reversed(group))
            self._arrived.notify()

    def take(self) -> list[Waiting]:
        """Everything that waits, up to a group; waits while nobody does. Empty when the line is closed."""
        with self._arrived:
            while not self._waiting and not self._closed:
                self._arrived.wait()
            count = min(GROUP, len(self._waiting))
            self._in_hand = count
            return [self._waiting.popleft() for _ in range(count)]

    def done(self, deliveries: int, seconds: float) -> None:
        """A group was served in so many seconds."""
        self._in_hand = 0
        counted = max(deliveries, _AT_LEAST)
        if _ANOTHER_PACE * seconds < self.predicted_wait_s(counted):
            self._seconds = self._deliveries = 0.0
        self._seconds = self._seconds * _FADING + seconds
        self._deliveries = self._deliveries * _FADING + counted
        metrics.QUEUE.set(len(self._waiting))

    def close(self) -> None:
        """Let the writer end once everybody in line is served."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()
