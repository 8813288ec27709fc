"""The applier in the backend: follows the primary, and lets commits wait for it.

One applier per process, used by one thread at a time. A thread of its own, started only when there is a
shadow, looks for changes every 20 ms. It also finishes what a dead coordinator left, and trims the log. In
sync mode a commit waits for a round that began after it. The commit runs that round itself, in its own
thread, unless another commit is running one. Then it waits for that round to end. The next round carries all
commits that waited meanwhile (group commit). A large backlog is left to the thread. When the shadow does not
answer in time the breaker opens, and commits stop waiting. The thread goes on trying with growing pauses. It
closes the breaker once the shadow has caught up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg_errors
from tenacity import RetryCallState, wait_random_exponential

from app.db.apply.outcome import SWITCHED, TOO_MUCH, Round, Skipped
from app.db.apply.round import Applier
from app.db.apply.trim import Trimmer
from app.db.common import metrics
from app.db.common.errors import NotPrepared, SchemaDrift, ShadowUnavailable, first_line
from app.db.common.logs import logger
from app.db.common.settings import DualWrite, ShimSettings
from app.db.common.urls import Pair, Side
from app.db.sides.phase import Phase
from app.db.sides.postgres.connection import Unanswered
from app.db.sides.stores import Stores
from app.db.switch.guarded import tell_meanwhile
from app.db.switch.moments import Moment, tell_in_background
from app.db.switch.recover import recover
from app.db.switch.state.writable import strangers, writable_sides

log = logger("sigma.db")

POLL_S = 0.02  # how soon a change is noticed by the process that applies
# So soon while changes come in slowly: a commit that meets a round waits for its end, and short rounds end soon.
SOON_S = 0.005
SLOW = 2_500.0  # log entries per second; above it, few rounds that carry much cost less
OFTEN = 0.1  # share of a processor; where a round after each commit would take more, rounds come seldom
LEAST_SHARE = 0.2  # of the time-out that must be left for a commit to begin a round itself
REST_S = 0.1  # how long the other processes leave it to that one before they look again
RECOVER_S = 0.25
SILENCE_LIMIT_S = 120.0  # for one answer; longer than any statement of a huge round needs
COUNT_S = 2.0
DEGRADED_S = 1.0  # at least: a slow shadow must not cost one time-out after the other
WARM_UP_S = 60.0
CAUGHT_UP_S = 1.0  # a round shorter than this makes a degraded process trust the shadow again
_NOT_OURS = pg_errors.InsufficientPrivilege  # a role that may write the application's tables only


@dataclass(frozen=True)
class Health:
    """What the thread last saw; for /health/ready and the metrics."""

    running: bool
    degraded: bool
    phase: str | None
    lag_seconds: float
    lag_changes: int
    error: str | None


class Follower:
    """Background apply for one process.

    Args:
        pair: both sides.
        settings: mode and limits.
        warm_up: opens connections that a switch will need. Called now and then while the pair replicates.
    """

    def __init__(self, pair: Pair, settings: ShimSettings, warm_up: Callable[[], None]) -> None:
        self._pair = pair
        self._warm_up = warm_up
        self._next_warm_up = 0.0
        self._warming: threading.Thread | None = None
        self._degraded_since = 0.0
        self._settings = settings
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._rounds = threading.Lock()  # who holds it may use the applier
        self._changed = threading.Condition()  # for commits that wait
        self._asked = threading.Event()  # for the thread
        self._commits = 0  # of this process, counted as soon as the primary has them
        self._covered = 0  # how many of those the shadow is known to have
        self._degraded = False
        self._standing = False  # the last round did not take place: paused, or no phase that applies
        self._primary_lost = False  # PostgreSQL is primary and broke off; no round has taken place since
        self._phase: str | None = None
        self._lag_seconds = 0.0
        self._lag_changes = 0
        self._error: str | None = None
        self._drift: str | None = None  # what is wrong with the schema though no round has met it yet
        self._next_recover = 0.0
        self._next_count = 0.0
        self._poll = POLL_S
        self._applied_at = 0.0  # when a round of this process last found changes
        self._rate = 0.0  # log entries per second that came between the last two of these
        self._pace = 0.0  # commits of this process per second in that time
        self._cost = 0.0  # seconds of processor time that the last round with changes took of this process
        self._commits_then = 0
        self._applier: Applier | None = None

    # -- called by request threads ------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread if it does not run. Harmless to repeat."""
        with self._changed:
            self._stopping.clear()
            if self._thread is None or not self._thread.is_alive():
                self._asked.set()
                self._thread = threading.Thread(target=self._run, name="st-replicator", daemon=True)
                self._thread.start()

    @property
    def uses_sqlite(self) -> bool:
        return self._applier is not None

    def stop(self, *, timeout: float = 10.0) -> None:
        """Stop the thread after its present round, for which this waits so many seconds."""
        self._stopping.set()
        self._asked.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if not self._thread.is_alive():
                self._thread = None
        if self._warming is not None:
            self._warming.join(timeout=10)  # it holds connections of a pool that is closed next

    def health(self) -> Health:
        """What the thread last saw."""
        running = self._thread is not None and self._thread.is_alive()
        error = self._error or self._drift
        return Health(running, self._degraded, self._phase, self._lag_seconds, self._lag_changes, error)

    def _degrade(self, why: str) -> None:
        """Open the breaker; the caller holds the condition."""
        if not self._degraded and self._settings.dual_write in (DualWrite.SYNC, DualWrite.STRICT):
            self._degraded = True
            self._degraded_since = time.monotonic()
            metrics.DEGRADED.set(1)
            log.warning("dual write degraded to async: %s", why)
            tell_in_background(self._settings, log.warning, Moment.ON_DEGRADED, reason=why)
            self._changed.notify_all()

    # -- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        trimmer = Trimmer()
        while not self._stopping.is_set():
            requested = self._asked.wait(self._poll)
            self._asked.clear()
            try:
                with self._rounds:
                    self._turn(trimmer, requested)
                failures = 0
            except Exception as error:  # whatever it is: without this thread perhaps nobody applies
                if self._settings.dual_write is DualWrite.OFF and isinstance(error, _NOT_OURS):
                    log.info("recovery and trimming are left to st-migrate worker: %s", error)
                    break
                failures += 1
                with self._rounds:
                    self._failed(error)
                self._stopping.wait(_pause(failures))
                self._asked.set()  # a server that crashed may have forgotten rounds: the next turn looks
        with self._rounds:
            self._close()

    def _close(self) -> None:
        if self._applier is not None:
            self._applier.stores.close()
            self._applier = None

    def _turn(self, trimmer: Trimmer, requested: bool) -> None:
        """What the thread does each time it looks."""
        if self._stopping.is_set():
            return
        applier = self._open()
        applier.stores.sqlite.watch.check()
        self._recover_if_due(applier)
        mode = self._settings.dual_write
        if mode is not DualWrite.OFF and (requested or self._asked.is_set() or self._is_mine(applier)):
            self._round(applier)
        trimmer.trim_if_due(applier.stores)
        self._look_if_due(applier)

    def _is_mine(self, applier: Applier) -> bool:
        """Whether there are changes, and no other process is at them."""
        recently = time.monotonic() - self._applied_at < REST_S
        if not applier.has_news():
            self._poll = self._poll if recently else max(self._poll, POLL_S)
            return False
        at_it = self._settings.dual_write is DualWrite.ASYNC and recently
        alone = at_it and not applier.was_disturbed(REST_S)  # of two at it, the last to apply goes on
        busy = not alone and applier.is_followed(REST_S)
        slowly = at_it and self._rate < SLOW and self._pace * self._cost < OFTEN
        self._poll = REST_S if busy else SOON_S if slowly else POLL_S
        return not busy

    def _open(self) -> Applier:
        if self._applier is None:
            self._applier = Applier(Stores.open(self._pair, self._settings, application_name="st-replicator"))
            self._applier.stores.postgres.limit_silence(SILENCE_LIMIT_S)
        return self._applier

    def _round(self, applier: Applier, at_most: int | None = None) -> Round | Skipped:
        """One round for all commits so far; the caller holds the applier."""
        commits, began = self._commits, time.thread_time()
        outcome = applier.round(at_most=at_most)
        if outcome is TOO_MUCH:
            return outcome
        with self._changed:
            if isinstance(outcome, Round):
                self._cost = time.thread_time() - began if outcome.changes else self._cost
                self._covered = max(self._covered, commits)
                self._primary_lost = False
            self._standing = not isinstance(outcome, Round) and outcome is not SWITCHED
            self._seen(applier, outcome)
            self._changed.notify_all()
        return outcome

    def _seen(self, applier: Applier, outcome: object) -> None:
        self._error = None
        self._phase = applier.phase
        if isinstance(outcome, Round):
            self._lag_seconds, self._lag_changes = outcome.lag, outcome.changes
            metrics.ROUNDS.labels("applied" if outcome.changes else "empty").inc()
            metrics.APPLIED.inc(outcome.changes)
            metrics.LAG_SECONDS.set(outcome.lag)
            metrics.LAG_CHANGES.set(0)
            if outcome.changes:
                now = time.monotonic()
                since = max(now - self._applied_at, 0.001)
                self._rate, self._pace = outcome.changes / since, (self._commits - self._commits_then) / since
                self._applied_at, self._commits_then = now, self._commits
                metrics.ROUND_SECONDS.observe(outcome.seconds)
            # A round takes all there was when it began, so a short one, or no news since, is up to date.
            rested = time.monotonic() - self._degraded_since > DEGRADED_S
            if self._degraded and rested and (outcome.seconds < CAUGHT_UP_S or not applier.has_news()):
                self._degraded = False
                metrics.DEGRADED.set(0)
                log.warning("dual write is back: the shadow has caught up")
        else:
            metrics.ROUNDS.labels("standing").inc()

    def _failed(self, error: Exception) -> None:
        text = first_line(error)
        if isinstance(error, NotPrepared):
            self._next_recover = 0.0
        elif text != self._error:
            log.warning("apply stands still: %s", text)
        metrics.ROUNDS.labels("failed").inc()
        if self._applier is not None:
            self._applier.forget_resume_point()
        with self._changed:
            self._error = text
            # Until a round takes place again no commit waits for one. The control rows disagree for a
            # moment in each switch: that is worth waiting for.
            self._standing = not isinstance(error, NotPrepared)
            self._primary_lost = _is_lost(error) and self._applier_primary() is Side.POSTGRES
            if not isinstance(error, NotPrepared):
                self._degrade(text)
            self._changed.notify_all()
        self._measure_lag()

    def _applier_primary(self) -> Side | None:
        return self._applier.primary if self._applier is not None else None

    def _measure_lag(self) -> None:
        """What the shadow lacks, while no round tells; unknown if the primary cannot be asked either."""
        with suppress(Exception):
            if self._applier is not None:
                self._lag_changes, self._lag_seconds = self._applier.behind()
                metrics.LAG_CHANGES.set(self._lag_changes)
                metrics.LAG_SECONDS.set(self._lag_seconds)

    def _mend(self, applier: Applier) -> None:
        """Writes that nothing logs ask for no round, so capture is looked at all the same."""
        try:
            applier.mend()
        except SchemaDrift as drift:
            if str(drift) != self._drift:
                log.warning("the sides differ: %s", drift)
            self._drift = str(drift)
        else:
            self._drift = None

    def _look_if_due(self, applier: Applier) -> None:
        """What is worth a look now and then: two writable sides, rows in quarantine."""
        now = time.monotonic()
        if now >= self._next_count:
            self._next_count = now + COUNT_S
            tell_meanwhile(applier.stores, self._settings, log.warning)
            sides = writable_sides(applier.stores)
            metrics.WRITABLE_SIDES.set(len(sides))
            if len(sides) > 1:
                log.error(
                    "both sides take application writes; %s", strangers(applier.stores) or "none has come yet"
                )
                log.error("recovered from two writable sides: %s", recover(applier.stores))
            if self._phase == Phase.REPLICATING:
                self._mend(applier)

    def _recover_if_due(self, applier: Applier) -> None:
        now = time.monotonic()
        if now < self._next_recover:
            return
        self._next_recover = now + RECOVER_S
        if self._phase != Phase.REPLICATING or self._degraded:
            self._asked.set()  # nothing else tells that the copy is done, or the shadow back
        elif now >= self._next_warm_up:
            self._next_warm_up = now + WARM_UP_S
            self._warming = threading.Thread(target=self._warm_up, name="st-warm-up", daemon=True)
            self._warming.start()
        control = applier.stores.sqlite.read_control()
        # With PostgreSQL primary an attempt shows on its row only, so it is asked every time.
        if control.attempt is not None or self._error is not None or control.primary is Side.POSTGRES:
            outcome = recover(applier.stores)
            if outcome not in ("nothing_to_do", "attempt_in_progress"):
                log.warning("recovered from an interrupted switch: %s", outcome)


def _is_lost(error: Exception) -> bool:
    """Whether PostgreSQL broke off or cannot be reached; not whether it is slow."""
    gone = isinstance(error, (psycopg.OperationalError, ShadowUnavailable))
    return gone and not isinstance(error, Unanswered)


_backoff = wait_random_exponential(multiplier=0.05, max=3.0)


def _pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row: random, growing, bounded."""
    state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]  # the strategy reads the count only
    state.attempt_number = failures
    return _backoff(state)
