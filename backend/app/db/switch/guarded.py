"""The guarded switch: recover, ask the gates, make the attempt, and try again where that may succeed.

Two callers: the command line, and a process that starts with ST_CUTOVER=auto. Every check runs before the
fence goes up, so a switch that is refused has held nobody. Several processes may want the same switch at
once. One of them makes it, and the others find the side they asked for primary.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_random,
)

from app.db.apply.round import Applier
from app.db.common.errors import ConfigurationError, Refused, StaleAttempt, SwitchError
from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.sides.stores import Stores
from app.db.switch import gates
from app.db.switch.coordinator import Aborted, Coordinator, Moved
from app.db.switch.moments import Moment, Moments, is_telling
from app.db.switch.recover import Recovered, recover
from app.db.switch.state.untold import note_begun, note_told, take_over, was_told

ATTEMPTS = 4
LIMIT_S = 60.0
WAIT_S = (0.2, 1.0)  # between two attempts, at random: those who collided do not collide again


@dataclass(frozen=True)
class Already:
    """The side asked for is primary, without an attempt of this process."""

    primary: Side
    epoch: int


def evaluate(applier: Applier, to: Side, max_pause_ms: int) -> list[gates.Gate] | Already:
    """Bring the control rows into one state, then ask every gate.

    Raises:
        Refused: another switch is under way, or PostgreSQL was left behind by a forced rollback.
        SwitchError: see `recover`.
    """
    if not _settled(applier.stores):
        raise _busy()
    return _asked(applier, to, max_pause_ms)


def switch(
    applier: Applier,
    to: Side,
    *,
    max_pause_ms: int,
    report: Callable[[str], None],
    attempts: int = ATTEMPTS,
    await_others: bool = False,
    limit_s: float = LIMIT_S,
    told: Told | None = None,
) -> Moved | Aborted | Already:
    """Make `to` primary if every gate agrees.

    Args:
        max_pause_ms: an attempt is aborted when writers would wait longer than this.
        report: called with one line per step.
        attempts: how often to try while another attempt may succeed.
        limit_s: no attempt begins later than this, and what has to be compared before is given up.
        await_others: wait for the switch of another process, instead of refusing.
        told: tells of this switch; once before the first attempt, and once of what became of it.

    Raises:
        Refused: a gate or the command of `before-fence` said no, with the reasons, or another switch is under
            way. Nothing was changed.
        SwitchError: see `Coordinator.move`.
    """
    give_up_at = time.monotonic() + limit_s
    ended: Aborted | None = None
    told = told or Told(Moments(None), to, applier.stores, limit_s)

    def attempt() -> Moved | Aborted | Already:
        nonlocal ended
        try:
            outcome = _attempt(applier, to, max_pause_ms, report, await_others, give_up_at, told)
        except Refused:
            if ended is None or time.monotonic() < give_up_at:
                raise
            return ended  # the time ran out while the gates were asked again: why it did is known
        ended = outcome if isinstance(outcome, Aborted) else None
        return outcome

    try:
        done = _retrying(attempts, limit_s, give_up_at, report)(attempt)
    except BaseException as error:
        told.failed(error)
        raise
    told.of(done)
    return done


def _retrying(attempts: int, limit_s: float, give_up_at: float, report: Callable[[str], None]) -> Retrying:
    """Tries again while an attempt was aborted by what may be over in a moment."""

    def again(state: RetryCallState) -> None:
        outcome = state.outcome.result() if state.outcome else None
        why = f" ({outcome.reason})" if isinstance(outcome, Aborted) else ""
        left = max(0.0, give_up_at - time.monotonic())
        report(f"attempt {state.attempt_number} ended without a switch{why}, trying again for {left:.0f} s")

    return Retrying(
        retry=retry_if_result(lambda outcome: isinstance(outcome, Aborted) and outcome.retryable),
        wait=wait_random(*WAIT_S),
        stop=stop_after_attempt(attempts) | stop_after_delay(limit_s),
        before_sleep=again,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )


class Told:
    """Tells of one switch: before its first attempt, and then once of its end.

    Args:
        moments: whom to tell.
        within_s: seconds that the switch may take.
    """

    def __init__(self, moments: Moments, to: Side, stores: Stores, within_s: float = LIMIT_S) -> None:
        self._moments = moments
        self._to = to
        self._stores = stores
        self._within_s = within_s
        self._token = uuid.uuid4().hex
        self._begun = False
        self._ended = False

    def before(self) -> None:
        """Every gate agrees: the command of `before-fence` may still say no."""
        if not self._begun:
            self._begun = True
            epoch = self._stores.postgres.read_control().epoch
            if self._moments.wanted:
                note_begun(self._stores, self._token, self._to, epoch, self._within_s)
            self._moments.before(Moment.BEFORE_FENCE, {"to": self._to, "epoch": epoch})

    def of_the_dead(self) -> None:
        """Tell of an earlier switch whose process died before it could."""
        tell_for_the_dead(self._stores, self._moments)

    def of(self, done: Moved | Aborted | Already) -> None:
        """How the switch ended."""
        if not self._ends():
            return
        if isinstance(done, Aborted):
            self._tell_end(Moment.ON_ABORT, reason=done.reason, pause_ms=round(done.pause_ms))
            if done.mismatches:
                self._tell(Moment.ON_MISMATCH, mismatches=len(done.mismatches), found_by="switch")
            return
        pause = round(done.pause_ms) if isinstance(done, Moved) else None
        self._tell_end(Moment.AFTER_PROMOTE, primary=done.primary, epoch=done.epoch, pause_ms=pause)

    def failed(self, error: BaseException) -> None:
        """The switch was left by an error; a refusal means that it did not take place."""
        if self._ends():
            refused = isinstance(error, Refused)
            reason = error.message if isinstance(error, SwitchError) else type(error).__name__
            if refused:
                self._tell_end(Moment.ON_ABORT, reason=reason)
            else:
                self._tell(Moment.ON_UNKNOWN, reason=reason)  # another process tells how it ended

    def _ends(self) -> bool:
        """Whether the end of what was begun is still to be told."""
        first, self._ended = self._begun and not self._ended, True
        return first

    def _tell_end(self, moment: Moment, **facts: object) -> None:
        if not self._moments.wanted or was_told(self._stores, self._token, moment):
            return
        self._tell(moment, lambda: note_told(self._stores, self._token, moment), **facts)

    def _tell(self, moment: Moment, then: Callable[[], None] = lambda: None, **facts: object) -> None:
        self._moments.tell(moment, then, to=self._to, **facts)


def tell_for_the_dead(stores: Stores, moments: Moments, *, later: bool = False) -> None:
    """Tell of the end of a switch whose process died before it could, once that is certain. Raises nothing.

    Args:
        later: tell in a thread.
    """
    if not moments.wanted or (later and is_telling()):
        return
    untold = None
    with suppress(SwitchError, psycopg.Error):
        untold = take_over(stores)
    if untold is None:
        return
    tell, to = moments.tell_later if later else moments.tell, untold.to
    if untold.promoted:
        tell(Moment.AFTER_PROMOTE, to=to, primary=to, epoch=untold.epoch + 1, began_by=untold.by)
    else:
        reason = "the process that made the switch ended before it told"
        tell(Moment.ON_ABORT, to=to, reason=reason, began_by=untold.by)


def tell_meanwhile(stores: Stores, settings: ShimSettings, report: Callable[[str], None]) -> None:
    """The same for a process that has other things to do: it looks, and tells in a thread. Raises nothing."""
    with suppress(ConfigurationError):  # said when this process tells of something of its own
        tell_for_the_dead(stores, Moments(settings, report), later=True)


def _attempt(
    applier: Applier,
    to: Side,
    max_pause_ms: int,
    report: Callable[[str], None],
    await_others: bool,
    give_up_at: float,
    told: Told,
) -> Moved | Aborted | Already:
    stores = applier.stores
    if not _settled(stores):
        if await_others:
            return Aborted(_busy().message, retryable=True)
        raise _busy()
    told.of_the_dead()
    report("asking the gates")
    found = _asked(applier, to, max_pause_ms, give_up_at, report)
    if isinstance(found, Already):
        return found
    if any(not gate.ok for gate in found):
        # A gate that another process closed by switching meanwhile is no reason to refuse.
        if already := _reached(stores, to):
            return already
        if await_others and any(gate.name == "attempt" and not gate.ok for gate in found):
            return Aborted(_busy().message, retryable=True)
    gates.require(found)
    told.before()
    try:
        done = Coordinator(applier, max_pause_ms=max_pause_ms, report=report, give_up_at=give_up_at).move(to)
    except StaleAttempt as ended:
        return Aborted(ended.message, retryable=True)
    return (_reached(stores, to) or done) if isinstance(done, Aborted) else done


def _asked(
    applier: Applier,
    to: Side,
    max_pause_ms: int,
    give_up_at: float | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[gates.Gate] | Already:
    return _reached(applier.stores, to) or gates.evaluate(
        applier, to, max_pause_ms=max_pause_ms, give_up_at=give_up_at, report=report
    )


def _busy() -> Refused:
    return Refused("another switch is under way", hint="wait for it to end, see st-migrate status")


def _settled(stores: Stores) -> bool:
    """Finish or undo what a dead process left; whether no other switch is under way.

    Raises:
        Refused: PostgreSQL was left behind by a forced rollback, or is an older copy.
        SwitchError: PostgreSQL cannot be reached.
    """
    found = recover(stores)
    if found is Recovered.SUPERSEDED:
        raise Refused(
            stores.sqlite.read_control().ahead,
            hint="put the newer one back; or SQLite has everything: run st-migrate abort, then prepare --discard-target and backfill to fill it anew",
        )
    if found in (Recovered.UNKNOWN, Recovered.RELEASED):
        raise SwitchError("PostgreSQL cannot be reached", hint="start it, then run st-migrate recover")
    return found is not Recovered.WAIT


def _reached(stores: Stores, to: Side) -> Already | None:
    """Whether the side asked for is primary, by the arbiter's row."""
    control = stores.postgres.read_control()
    return Already(to, control.epoch) if control.primary is to else None
