"""How fast long work goes and when it will be done: one answer for bars, lines, JSON and the console.

The rate is that of the last half minute, so that a pause or a slower table shows. The time that is left
follows the rate.

How fast it may go stands here, too. `st-migrate throttle` stores limits on PostgreSQL, and all work under way looks
there after each chunk and while it waits. So a limit counts in every process at once, also one that is lifted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from app.db.sides.postgres.store import PostgresStore
from app.db.sides.tables import CREATE_THROTTLE

WINDOW_S = 30.0
STEP_S = 0.5  # between two samples that are kept
LEAST_S = 0.2  # of history before a rate is told
LOOK_S = 0.5  # between two looks at the limit while work waits


@dataclass(frozen=True)
class Progress:
    """How far some work is.

    `rate` is in rows per second, `fraction` is between 0 and 1, and `eta_seconds` is the time that is left.
    Each is None where it cannot be known.
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
        return self.told("rows")

    def told(self, unit: str) -> str:
        """One line in which the amounts are rows, or pages."""
        parts = [f"{self.done:,} of {self.expected:,} {unit}" if self.expected else f"{self.done:,} {unit}"]
        if self.fraction is not None:
            parts.append(f"{self.fraction:.0%}")
        if self.rate is not None:
            parts.append(f"{self.rate:,.0f} {unit}/s")
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


@dataclass(frozen=True)
class Limits:
    """The stored limits, in rows per second. None: each command goes as fast as it was told when it began."""

    copy_rate: int | None = None
    verify_rate: int | None = None

    def __str__(self) -> str:
        told = (
            f"{name}: at most {rate} rows per second" if rate else f"{name}: no stored limit"
            for name, rate in (("copy", self.copy_rate), ("verify", self.verify_rate))
        )
        return "; ".join(told)


def stored_limits(store: PostgresStore) -> Limits:
    """The stored limits. None where an earlier version prepared the pair, or the role may not read them."""
    may_read = "SELECT has_table_privilege(to_regclass('st_throttle'), 'SELECT')"
    if store.connection.execute(may_read).fetchone() != (True,):
        return Limits()
    row = store.connection.execute("SELECT copy_rate, verify_rate FROM st_throttle WHERE id = 1").fetchone()
    return Limits(*row) if row else Limits()


@dataclass
class Throttle:
    """What keeps the copy from harming the application.

    `rate`: rows per second at most, None for no limit; a stored limit takes its place. `max_lag`: log entries
    beyond which the copy stops to let apply catch up. `share`: processes that go at this rate together.
    """

    rate: float | None = None
    max_lag: int = 50_000
    share: int = 1

    def limit(self, store: PostgresStore) -> float | None:
        """Rows per second of this process at this moment."""
        rate = stored_limits(store).copy_rate or self.rate
        return rate / self.share if rate else None


def store_limits(store: PostgresStore, limits: Limits) -> None:
    """Put limits in the place of those that are stored."""
    with store.write() as connection:
        if connection.execute("SELECT to_regclass('st_throttle')").fetchone() == (None,):
            connection.execute(CREATE_THROTTLE.encode())
        connection.execute(
            "INSERT INTO st_throttle (id, copy_rate, verify_rate) VALUES (1, %s, %s) ON CONFLICT (id) "
            "DO UPDATE SET copy_rate = excluded.copy_rate, verify_rate = excluded.verify_rate",
            (limits.copy_rate, limits.verify_rate),
        )


def keep_within(limit: Callable[[], float | None], rows: int, began: float) -> None:
    """Wait after a chunk for as long as the limit demands, which is asked for again meanwhile.

    Args:
        limit: rows per second at most, None for no limit.
        rows: of the chunk.
        began: when the chunk began, by `time.monotonic`.
    """
    while (rate := limit()) and (left := rows / rate - (time.monotonic() - began)) > 0:
        time.sleep(min(left, LOOK_S))


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
