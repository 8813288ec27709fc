"""The worker: applies continuously, for deployments whose backend does not, or beside it.

Any number may run; rounds exclude each other by the applier's lock. An outage of either side is waited
out with growing pauses; SIGTERM and SIGINT end it between two rounds. It also finishes what a dead
coordinator left, for backends whose role may not.
"""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

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
from app.db.common.errors import NotPrepared, Refused, SchemaDrift
from app.db.sides.phase import APPLYING_PHASES, Phase
from app.db.sides.postgres.connection import is_retryable
from app.db.switch.recover import recover

POLL_S = 0.05
RECOVER_S = 0.5
MAX_PAUSE_S = 10.0
Report = Callable[[str], None]


@dataclass
class Worked:
    """What a worker did; `drained` means that the last round found nothing more to do."""

    rounds: int = 0
    changes: int = 0
    refused: int = 0
    outages: int = 0
    drained: bool = False


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


@dataclass
class Worker:
    """Applies round after round.

    Args:
        stop: ends it.
        until_drained: end as well when nothing is left to apply.
        report: called with one line when something happens that people want to know.
    """

    applier: Applier
    stop: threading.Event
    until_drained: bool = False
    report: Report = print
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
            outcome = rounds(self._round)
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

    def _round(self) -> Round | Skipped:
        if time.monotonic() >= self._next_recover:
            self._next_recover = time.monotonic() + RECOVER_S
            recover(self.applier.stores)
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
            if outcome.refused:
                self.report(f"{outcome.refused} rows went to quarantine")
        return outcome

    def _standing(self, standing: Skipped) -> None:
        if not self.until_drained:
            return
        control = self.applier.stores.postgres.read_control()
        if control.paused:
            raise Refused("apply is paused", hint="run st-migrate resume")
        if control.phase not in APPLYING_PHASES:
            raise Refused(f"nothing to drain: {standing.reason}", hint="see st-migrate status")

    def _outage(self, state: RetryCallState) -> None:
        if state.attempt_number == 1:
            self.worked.outages += 1
            error = state.outcome.exception() if state.outcome else None
            self.report(f"waiting for a database: {str(error).splitlines()[0] if error else ''}")


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return is_retryable(error)
