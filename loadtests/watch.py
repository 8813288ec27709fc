"""Watches a pair from outside while it moves: primary, phase, lag, a few times a second.

Read with plain statements over connections of its own, so that what it says does not depend on the code
whose figures it checks. A side that cannot be read at a moment yields no sample then.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

EVERY_S = 0.05


@dataclass(frozen=True)
class Sample:
    """One look. `at`: seconds since the epoch; the lag counts log entries and the age of the oldest one."""

    at: float
    phase: str
    primary: str
    epoch: int
    lag_changes: int
    lag_seconds: float


class Watch:
    """Takes samples from a thread of its own until it is stopped.

    Args:
        sqlite_path: the file.
        conninfo: PostgreSQL, for libpq.
        every_s: time between two looks.
    """

    def __init__(self, sqlite_path: Path, conninfo: str, *, every_s: float = EVERY_S) -> None:
        self.samples: list[Sample] = []
        self._path = sqlite_path
        self._conninfo = conninfo
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def highest_lag(self, *, phase: str | None = None) -> tuple[int, float]:
        """The most entries and the most seconds of all samples (of one phase)."""
        chosen = [s for s in self.samples if phase is None or s.phase == phase]
        return (
            max((sample.lag_changes for sample in chosen), default=0),
            max((sample.lag_seconds for sample in chosen), default=0.0),
        )

    def began(self, epoch: int) -> float | None:
        """When an epoch was first seen, in seconds since the epoch of the clock; None if it never was."""
        return next((sample.at for sample in self.samples if sample.epoch == epoch), None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(psycopg.Error, sqlite3.Error):
                self._look_until_stopped()
            self._stopping.wait(self._every_s)

    def _look_until_stopped(self) -> None:
        sqlite = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, timeout=1)
        with closing(sqlite), closing(psycopg.connect(self._conninfo, autocommit=True)) as postgres:
            while not self._stopping.is_set():
                self.samples.append(look(sqlite.execute, postgres.execute))
                self._stopping.wait(self._every_s)


def look(sqlite: Callable[..., Any], postgres: Callable[..., Any]) -> Sample:
    """One sample through the `execute` of two connections; their errors pass while nothing is prepared."""
    primary, phase, epoch = postgres("SELECT primary_side, phase, epoch FROM st_control").fetchone()
    if primary == "sqlite":
        (position,) = postgres("SELECT position FROM st_watermark").fetchone()
        behind = sqlite("SELECT count(*), min(at) FROM st_change_log WHERE seq > ?", (int(position),))
    else:
        (position,) = sqlite("SELECT position FROM st_watermark").fetchone()
        behind = postgres(
            "SELECT count(*), min(at) FROM st_change_log "
            "WHERE NOT pg_visible_in_snapshot(xid, %s::pg_snapshot)",
            (position,),
        )
    changes, oldest = behind.fetchone()
    now = time.time()
    return Sample(now, phase, primary, epoch, changes, max(0.0, now - oldest) if oldest else 0.0)
