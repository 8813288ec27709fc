"""The pair as one process sees it in the databases when somebody looks: lag, state of apply, what blocks.

What the background thread last did says nothing while it is paused, or where no thread applies. So a scrape
of the metrics and a health check look for themselves. They look at most once a second, with connections of
their own.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from app.db.common import metrics
from app.db.common.errors import SwitchError, first_line
from app.db.common.urls import Side
from app.db.revisions.source import source_of
from app.db.sides.control import Control
from app.db.sides.phase import Phase
from app.db.sides.stores import Stores
from app.db.switch.state.checks import Checks
from app.db.switch.state.readiness import ApplyState, Lag, apply_state, lag
from app.db.switch.state.writable import writable_sides

FRESH_S = 1.0
REST_S = 5.0  # after a side did not answer
SILENCE_LIMIT_S = 2.0  # for all answers of one look


@dataclass(frozen=True)
class Observed:
    """What was seen. `lag` is None where it cannot be known, `blocks` is what keeps apply from going on.

    `control` is the arbiter's control row. `writable` counts the sides that take application writes, and
    `quarantined` the rows that the shadow cannot hold. The three are None while a side does not answer.
    """

    state: ApplyState
    lag: Lag | None = None
    blocks: tuple[str, ...] = ()
    control: Control | None = None
    writable: int | None = None
    quarantined: int | None = None


class Observer:
    """Looks at the pair for one process.

    Args:
        open_stores: opens the pair of connections that this observer keeps for itself.
    """

    def __init__(self, open_stores: Callable[[str], Stores]) -> None:
        self._open_stores = open_stores
        self._stores: Stores | None = None
        self._lock = threading.Lock()
        self._seen = Observed(ApplyState.UNKNOWN)
        self._position: str | None = None  # PostgreSQL's watermark, for when it does not answer
        self._next = 0.0

    def look(self) -> Observed:
        """What is so now, or was a moment ago; sets the metrics. Raises nothing."""
        if time.monotonic() < self._next or not self._lock.acquire(blocking=False):
            return self._seen
        try:
            self._seen = self._look()
            _publish(self._seen)
        finally:
            self._lock.release()
        return self._seen

    def _look(self) -> Observed:
        try:
            if self._stores is None:
                self._stores = self._open_stores("st-observer")
            self._stores.finish_by(time.monotonic() + SILENCE_LIMIT_S)
            found = self._both(self._stores)
            self._next = time.monotonic() + FRESH_S
            return found
        except (psycopg.Error, sqlite3.Error, SwitchError, OSError) as error:
            self._next = time.monotonic() + REST_S
            return Observed(ApplyState.UNKNOWN, self._alone(), (first_line(error),))

    def _both(self, stores: Stores) -> Observed:
        checks = Checks(stores, source_of(stores.postgres.connection))
        closed = checks.standing()
        blocks = tuple(f"{check.detail} ({check.remedy})" for check in closed)
        if any(check.name == "file" for check in closed):
            # Positions of an older file tell nothing.
            return Observed(ApplyState.STANDING, None, blocks, checks.arbiter)
        found = lag(stores)
        if stores.directions()[0].side is Side.SQLITE:
            self._position = stores.postgres.read_position()
        state = apply_state(stores, found, standing=bool(closed))
        (rows,) = stores.postgres.connection.execute("SELECT count(*) FROM st_quarantine").fetchone() or (0,)
        return Observed(state, found, blocks, checks.arbiter, len(writable_sides(stores)), rows)

    def _alone(self) -> Lag | None:
        """The lag by SQLite alone, as far as the shadow's last known position tells."""
        try:
            if self._stores is None or self._position is None:
                return None
            sqlite = self._stores.sqlite
            if sqlite.read_control().primary is not Side.SQLITE:
                return None
            with sqlite.source() as source:
                backlog = source.backlog(self._position)
            age = 0.0 if backlog.oldest is None else max(0.0, time.time() - backlog.oldest)
            return Lag(backlog.entries, age)
        except (sqlite3.Error, SwitchError, OSError):
            return None

    def close(self) -> None:
        """Close this observer's connections; the next look opens new ones."""
        with self._lock:
            if self._stores is not None:
                self._stores.close()
                self._stores = None


def _publish(seen: Observed) -> None:
    if seen.lag is not None:
        metrics.LAG_CHANGES.set(seen.lag.entries)
        metrics.LAG_SECONDS.set(seen.lag.seconds)
    if seen.control is not None:
        metrics.EPOCH.set(seen.control.epoch)
        for side in Side:
            metrics.PRIMARY.labels(side).set(int(seen.control.primary is side))
        for phase in Phase:
            metrics.PHASE.labels(phase).set(int(seen.control.phase == phase))
    if seen.writable is not None:
        metrics.WRITABLE_SIDES.set(seen.writable)
    if seen.quarantined is not None:
        metrics.QUARANTINED.set(seen.quarantined)
    for state in ApplyState:
        metrics.APPLY_STATE.labels(state).set(int(state is seen.state))
