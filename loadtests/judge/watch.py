"""Watches a pair from outside while it moves: primary, phase, lag, a hundred times a second.

Read with plain statements over connections of its own, so that what it says does not depend on the code
whose figures it checks. A side that cannot be read at a moment yields no sample then. The lag of a sample is
the age of the oldest committed change that the shadow's watermark does not cover, counted from the moment
at which the writer's statement logged it; so the primary's own commit is part of it. The watermark is read
before the log: what is applied in between makes a lag look longer, never shorter.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from loadtests.stage.thread import Stoppable

EVERY_S = 0.01
REPLICATING = "replicating"
AGAIN_S = 0.25  # before a pair that could not be read is tried again, each time over new connections

CONTROL = (
    "SELECT c.primary_side, c.phase, c.epoch, w.position FROM st_control c, st_watermark w "
    "WHERE c.id = 1 AND w.id = 1"
)
BEHIND_SQLITE = "SELECT count(*), min(at) FROM st_change_log WHERE seq > ?"
# The first condition is there for the index: without it the whole log is read each time.
BEHIND_POSTGRES = (
    "SELECT count(*), min(at) FROM st_change_log WHERE xid >= pg_snapshot_xmin(%(at)s::pg_snapshot) "
    "AND NOT pg_visible_in_snapshot(xid, %(at)s::pg_snapshot)"
)


@dataclass(frozen=True)
class Sample:
    """One look. `at`: seconds since the epoch; the lag counts log entries and the age of the oldest one."""

    at: float
    phase: str
    primary: str
    epoch: int
    lag_changes: int
    lag_seconds: float


class Watch(Stoppable):
    """Takes samples from a thread of its own until it is stopped.

    `cpu_s` is the processor time that the looking itself has taken in this process.

    Args:
        sqlite_path: the file.
        conninfo: PostgreSQL, for libpq.
        every_s: time from one look to the next.
    """

    def __init__(self, sqlite_path: Path, conninfo: str, *, every_s: float = EVERY_S) -> None:
        super().__init__("watch")
        self.samples: list[Sample] = []
        self.cpu_s = 0.0
        self._path = sqlite_path
        self._conninfo = conninfo
        self._every_s = every_s

    def highest_lag(self) -> tuple[int, float]:
        """The most entries and the most seconds of all samples while replicating."""
        chosen = [sample for sample in self.samples if sample.phase == REPLICATING]
        return (
            max((sample.lag_changes for sample in chosen), default=0),
            max((sample.lag_seconds for sample in chosen), default=0.0),
        )

    def lags(
        self,
        *,
        outside: Iterable[tuple[float, float]] = (),
        inside: Iterable[tuple[float, float]] | None = None,
    ) -> list[float]:
        """Seconds of lag of every sample while replicating, outside of some stretches of time or within some."""
        without, within = list(outside), None if inside is None else list(inside)
        return [
            sample.lag_seconds
            for sample in self.samples
            if sample.phase == REPLICATING
            and not _in_any(sample.at, without)
            and (within is None or _in_any(sample.at, within))
        ]

    def began(self, epoch: int) -> float | None:
        """When an epoch was first seen, in seconds since the epoch of the clock; None if it never was."""
        return next((sample.at for sample in self.samples if sample.epoch == epoch), None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(psycopg.Error, sqlite3.Error):
                self._look_until_stopped()
            self.cpu_s = time.thread_time()
            self._stopping.wait(AGAIN_S)

    def _look_until_stopped(self) -> None:
        sqlite = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, timeout=1)
        with closing(sqlite), closing(psycopg.connect(self._conninfo, autocommit=True)) as postgres:
            due = time.monotonic()
            while not self._stopping.is_set():
                sample = look(sqlite.execute, postgres.execute)
                if sample is not None:
                    self.samples.append(sample)
                due = max(due + self._every_s, time.monotonic())
                self._stopping.wait(due - time.monotonic())


def _in_any(at: float, stretches: Iterable[tuple[float, float]]) -> bool:
    return any(begin <= at <= end for begin, end in stretches)


def look(sqlite: Callable[..., Any], postgres: Callable[..., Any]) -> Sample | None:
    """One sample through the `execute` of two connections; None, or their errors, while nothing is prepared."""
    control = postgres(CONTROL).fetchone()
    if control is None:
        return None
    primary, phase, epoch, position = control
    if primary == "sqlite":
        behind = sqlite(BEHIND_SQLITE, (int(position),))
    else:
        (position,) = sqlite("SELECT position FROM st_watermark WHERE id = 1").fetchone()
        behind = postgres(BEHIND_POSTGRES, {"at": position})
    changes, oldest = behind.fetchone()
    now = time.time()
    return Sample(now, phase, primary, epoch, changes, max(0.0, now - oldest) if oldest else 0.0)
