"""Cutover and rollback: recover, gates, the attempt, again if it may succeed then, foreign keys after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_random

from app.db.apply.round import Applier
from app.db.common.errors import Refused, StaleAttempt, SwitchError
from app.db.common.urls import Side
from app.db.sides.postgres import deferred
from app.db.sides.stores import Stores
from app.db.switch import gates
from app.db.switch.coordinator import Aborted, Coordinator, Moved
from app.db.switch.recover import Recovered, recover

ATTEMPTS = 4
Report = Callable[[str], None]

STEPS = (
    "drain the log and compare the keys changed since the verify, while writers go on",
    "raise the fence on {old}: writers wait from here on",
    "drain to the last change and compare what changed meanwhile",
    "{keys}commit the new primary {new} in PostgreSQL's control row",
    "SQLite's control row follows, waiting writers go on against {new}",
)


@dataclass(frozen=True)
class Already:
    """The side asked for is primary."""

    primary: Side
    epoch: int


def steps(to: Side) -> list[str]:
    """What a switch does, in order, for --dry-run."""
    keys = "add foreign keys, advance sequences, " if to is Side.POSTGRES else ""
    return [step.format(old=to.other, new=to, keys=keys) for step in STEPS]


def evaluate(applier: Applier, to: Side, max_pause_ms: int) -> list[gates.Gate] | Already:
    """Bring the control rows into one state, then ask every gate.

    Raises:
        Refused: another switch is under way, or PostgreSQL was left behind by a forced rollback.
        SwitchError: see `recover`.
    """
    _settle(applier.stores)
    control = applier.stores.postgres.read_control()
    if control.primary is to:
        return Already(to, control.epoch)
    return gates.evaluate(applier, to, max_pause_ms=max_pause_ms)


def _settle(stores: Stores) -> None:
    found = recover(stores)
    if found is Recovered.WAIT:
        raise Refused("another switch is under way", hint="wait for it to end, see st-migrate status")
    if found is Recovered.SUPERSEDED:
        raise Refused(
            "a forced rollback left this PostgreSQL behind",
            hint="run st-migrate abort, then prepare --discard-target and backfill to fill it anew",
        )
    if found in (Recovered.UNKNOWN, Recovered.RELEASED):
        raise SwitchError("PostgreSQL cannot be reached", hint="start it, then run st-migrate recover")


def switch(applier: Applier, to: Side, max_pause_ms: int, report: Report) -> Moved | Aborted | Already:
    """Make `to` primary if every gate agrees.

    Raises:
        Refused: a gate said no, with the reasons; nothing was changed.
        SwitchError: see `Coordinator.move`.
    """

    def attempt() -> Moved | Aborted | Already:
        found = evaluate(applier, to, max_pause_ms)
        if isinstance(found, Already):
            return found
        gates.require(found)
        try:
            done = Coordinator(applier, max_pause_ms=max_pause_ms, report=report).move(to)
        except StaleAttempt as ended:
            return Aborted(ended.message, retryable=True)
        if isinstance(done, Aborted) and (now := applier.stores.postgres.read_control()).primary is to:
            return Already(to, now.epoch)  # somebody else has done it meanwhile
        return done

    def again(state: RetryCallState) -> None:
        report(f"attempt {state.attempt_number} ended without a switch, trying again")

    attempts = Retrying(
        retry=retry_if_result(lambda outcome: isinstance(outcome, Aborted) and outcome.retryable),
        wait=wait_random(0.2, 1.0),
        stop=stop_after_attempt(ATTEMPTS),
        before_sleep=again,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    return attempts(attempt)


def validate_keys(stores: Stores, report: Report) -> list[str]:
    """Validate PostgreSQL's foreign keys after it became primary; returns those that do not hold yet.

    The switch is done: what fails here is reported and can be repeated by running cutover again.
    """
    try:
        return deferred.validate_foreign_keys(stores.postgres.connection)
    except psycopg.Error as error:
        report(
            f"foreign keys were not validated ({str(error).splitlines()[0]}); run st-migrate cutover again"
        )
        return []
