"""How fast long work goes and when it will be done: one answer for bars, lines, JSON and the console.

The rate is that of the last half minute, so that a pause or a slower table shows, and the time that is left follows it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

WINDOW_S = 30.0
STEP_S = 0.5  # between two samples that are kept
LEAST_S = 0.2  # of history before a rate is told


@dataclass(frozen=True)
class Progress:
    """How far some work is.

    `rate` is in rows per second, `fraction` between 0 and 1, `eta_seconds` the time that is left; each is None
    where it cannot be known.
    """

    done: int
    expected: int | None
    rate: float | None
    eta_seconds: float | None

    @property
    def fraction(self) -> float | None:
        return None if not self.expected else min(1.0, self.done / self.expected)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "fraction": self.fraction}

    def __str__(self) -> str:
        parts = [f"{self.done:,} of {self.expected:,} rows" if self.expected else f"{self.done:,} rows"]
        if self.fraction is not None:
            parts.append(f"{self.fraction:.0%}")
        if self.rate is not None:
            parts.append(f"{self.rate:,.0f} rows/s")
        if self.eta_seconds is not None:
            parts.append(f"{duration(self.eta_seconds)} left")
        return ", ".join(parts)


class Pace:
    """Measures the rate of work whose amount is told again and again.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque(maxlen=int(WINDOW_S / STEP_S) + 2)

    def at(self, done: int, expected: int | None) -> Progress:
        """The progress at this moment, when so many rows of so many are done."""
        now = self._clock()
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()  # it began anew
        while len(self._samples) > 1 and now - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()
        first = self._samples[0] if self._samples else (now, done)
        if not self._samples or now - self._samples[-1][0] >= STEP_S:
            self._samples.append((now, done))
        seconds = now - first[0]
        rate = (done - first[1]) / seconds if seconds >= LEAST_S else None
        left = None if expected is None else max(0, expected - done)
        eta = left / rate if left is not None and rate else None
        return Progress(done, expected, rate, 0.0 if left == 0 else eta)


def duration(seconds: float) -> str:
    """A time span as people say it: the two largest units."""
    whole = max(0, round(seconds))
    for size, unit, smaller, rest in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            parts = f"{whole // size} {unit}"
            return f"{parts} {left} {rest}" if (left := whole % size // smaller) else parts
    return f"{whole} s"
