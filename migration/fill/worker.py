"""The worker: applies continuously, for deployments whose backend does not, or beside it.

Any number may run; rounds exclude each other by the applier's lock. An outage of either side is waited out
with growing pauses. SIGTERM and SIGINT end the worker between two rounds. It also finishes what a dead
coordinator left, for backends whose role may not.
"""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

import psycopg
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from app.db.apply.outcome import Round, Skipped
from app.db.apply.round import Applier
from app.db.apply.trim import Trimmer
from app.db.common import metrics
from app.db.common.errors import NotPrepared, Refused, SchemaDrift, ShadowUnavailable, SwitchError, first_line
from app.db.common.settings import load_settings
from app.db.common.urls import Pair, Side
from app.db.sides.control import Control
from app.db.sides.phase import APPLYING_PHASES, Phase
from app.db.sides.postgres.connection import is_retryable
from app.db.sides.stores import Stores
from app.db.switch.guarded import tell_for_the_dead
from app.db.switch.moments import Moments
from app.db.switch.recover import recover
from app.db.switch.state.observed import Observer
from migration.common.plain import counted

POLL_S = 0.05
WAIT_S = 1.0  # between two looks for a pair
ENDING_S = 60.0  # how long an end may take that has begun
RECOVER_S = 0.5
MAX_PAUSE_S = 10.0
Report = Callable[[str], None]


@dataclass
class Worked:
    """What a worker did; `drained`: the last round found nothing more to do. `ended`: the move is over."""

    rounds: int = 0
    changes: int = 0
    refused: int = 0
    outages: int = 0
    drained: bool = False
    ended: bool = False


def wait_until_prepared(
    stores: Stores, stop: threading.Event, report: Report, *, is_retired: Callable[[], bool]
) -> bool:
    """Wait for a pair to be there; a database that cannot be reached is waited for as well.

    Args:
        is_retired: whether SQLite is what a move has left behind.

    Returns:
        False where the move is over already, or the worker was told to stop.
    """
    told = False
    while not stop.is_set():
        if is_retired():
            return False
        try:
            if stores.sqlite.read_control().pair == stores.postgres.read_control().pair:
                return True
        except (NotPrepared, ShadowUnavailable, psycopg.OperationalError):
            pass
        if not told:
            report("waiting for st-migrate prepare")
            told = True
        stop.wait(WAIT_S)
    return False


def _standing(stores: Stores) -> list[Control]:
    """The control rows that stand. None where `complete` or `abort` has ended the move."""
    found = []
    for store in (stores.sqlite, stores.postgres):
        with suppress(NotPrepared):
            found.append(store.read_control())
    return found


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, for the duration of a block in the main thread."""
    event = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shown(pair: Pair, address: str | None) -> Iterator[None]:
    """Show Prometheus the metrics of a pair at HOST:PORT meanwhile; nothing without an address.

    Raises:
        ConfigurationError: the address is no HOST:PORT, or nobody can listen there.
    """
    observer = Observer(lambda name: Stores.open(pair, load_settings(), application_name=name))
    with closing(observer), metrics.served(address, observer.look):
        yield


@dataclass
class Worker:
    """Applies round after round.

    Args:
        stop: ends it.
        until_drained: end as well when nothing is left to apply.
        report: called with one line when something happens that people want to know.
        moments: whom to tell of a switch whose process died.
    """

    applier: Applier
    stop: threading.Event
    until_drained: bool = False
    report: Report = print
    moments: Moments = field(default_factory=lambda: Moments(None))
    worked: Worked = field(default_factory=Worked)
    _next_recover: float = 0.0

    def run(self) -> Worked:
        """Work until stopped or drained.

        Raises:
            Refused: --until-drained while paused, or in a phase in which nothing is applied.
            SwitchError: a failure that waiting does not mend.
        """
        rounds = Retrying(
            retry=retry_if_exception(_may_pass),
            wait=wait_random_exponential(multiplier=0.2, max=MAX_PAUSE_S),
            stop=stop_when_event_set(self.stop),
            sleep=sleep_using_event(self.stop),
            before_sleep=self._outage,
            retry_error_callback=lambda state: None,
        )
        trimmer = Trimmer()
        while not self.stop.is_set():
            try:
                outcome = rounds(self._round)
            except (SwitchError, sqlite3.Error, psycopg.Error):
                if self.until_drained or not self._is_ending():
                    raise
                self.worked.ended = True
                break
            if isinstance(outcome, Skipped):
                self._standing(outcome)
                self.stop.wait(POLL_S * 4)
            elif outcome is not None and outcome.changes == 0:
                if self.until_drained:
                    self.worked.drained = True
                    break
                rounds(trimmer.trim_if_due, self.applier.stores)
                self.stop.wait(POLL_S)
        return self.worked

    def _is_ending(self) -> bool:
        """Whether what went wrong is the end of the move, which clears one side after the other."""
        until = time.monotonic() + ENDING_S
        while time.monotonic() < until:
            standing = _standing(self.applier.stores)
            if not standing:
                return True
            if len(standing) == len(Side) and all(c.phase != Phase.COMPLETING for c in standing):
                return False
            if self.stop.wait(POLL_S):
                return False
        return False

    def _round(self) -> Round | Skipped:
        if time.monotonic() >= self._next_recover:
            self._next_recover = time.monotonic() + RECOVER_S
            recover(self.applier.stores)
            tell_for_the_dead(self.applier.stores, self.moments, later=True)
            if self.applier.phase == Phase.REPLICATING:
                with suppress(SchemaDrift):  # a round says so, where there is anything to apply
                    self.applier.mend()  # writes that nothing logs ask for no round
        try:
            outcome = self.applier.round(durable=self.until_drained)
        except NotPrepared:
            recover(self.applier.stores)  # the control rows disagree because a coordinator died between them
            outcome = self.applier.round()
        if isinstance(outcome, Round):
            self.worked.rounds += 1
            self.worked.changes += outcome.changes
            self.worked.refused += outcome.refused
            metrics.ROUNDS.labels("applied" if outcome.changes else "empty").inc()
            metrics.APPLIED.inc(outcome.changes)
            if outcome.refused:
                self.report(f"{counted(outcome.refused, 'row')} went to quarantine")
        return outcome

    def _standing(self, standing: Skipped) -> None:
        if not self.until_drained:
            return
        if self.applier.stores.directions()[1].read_control().paused:
            raise Refused("apply is paused", hint="run st-migrate resume")
        if self.applier.stores.postgres.read_control().phase not in APPLYING_PHASES:
            raise Refused(f"nothing to drain: {standing.reason}", hint="see st-migrate status")

    def _outage(self, state: RetryCallState) -> None:
        metrics.ROUNDS.labels("failed").inc()
        if state.attempt_number == 1:
            self.worked.outages += 1
            error = state.outcome.exception() if state.outcome else None
            self.report(f"waiting for a database: {first_line(error) if error else ''}")


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return is_retryable(error)
