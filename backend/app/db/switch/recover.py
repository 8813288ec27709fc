"""Finish or undo what a dead process left between the two control rows; any process may do it.

Nothing here waits for anybody, and everything is guarded by the attempt token or the epoch. So any number of
recoverers can run at once, also beside a coordinator that turns out to be alive.
"""

from __future__ import annotations

import time
from enum import StrEnum

import psycopg

from app.db.common.errors import NotPrepared, ShadowUnavailable
from app.db.sides.control import Control, supersede
from app.db.sides.locks import hold_writers
from app.db.sides.phase import record
from app.db.sides.stores import Stores
from app.db.switch.attempt import LONGEST_ATTEMPT_S, end_attempt, follow, release_alone
from app.db.switch.state.untold import DIED
from app.db.switch.state.writable import fence_second


class Recovered(StrEnum):
    """What recovery found and did."""

    NOTHING = "nothing_to_do"
    WAIT = "attempt_in_progress"  # a coordinator is within its deadline
    FOLLOWED = "followed"  # SQLite's control row was brought to the arbiter's record
    ENDED = "attempt_ended"  # a dead coordinator's attempt was undone, the old side is primary
    RELEASED = (
        "released_alone"  # PostgreSQL is away; SQLite's fence was lowered, the attempt had not committed
    )
    UNKNOWN = "postgres_needed"  # PostgreSQL is away and only it knows whether the switch took place
    FENCED = "second_side_fenced"  # both sides took writes; the one that is not primary was fenced
    SUPERSEDED = "postgres_superseded"  # a forced rollback left PostgreSQL behind; it was fenced


def recover(stores: Stores) -> Recovered:
    """Bring both control rows to one state.

    Raises:
        NotPrepared: a side carries no control row, or that of another pair.
    """
    ours = stores.sqlite.read_control()
    try:
        arbiter = stores.postgres.read_control()
    except (psycopg.OperationalError, ShadowUnavailable):
        if ours.attempt is None:
            return Recovered.NOTHING
        if _may_live(ours, time.time()):
            return Recovered.WAIT
        return Recovered.RELEASED if release_alone(stores, ours.attempt) else Recovered.UNKNOWN
    if ours.pair != arbiter.pair:
        raise NotPrepared("the two databases belong to different pairs", hint="check both URLs")
    if ours.epoch > arbiter.epoch:
        return _supersede(stores, ours)
    if arbiter.attempt is not None:
        if _may_live(arbiter, _postgres_clock(stores)):
            return Recovered.WAIT
        end_attempt(stores, arbiter.attempt, DIED)
        return Recovered.ENDED
    if fence_second(stores) is not None:
        return Recovered.FENCED
    return Recovered.FOLLOWED if follow(stores) else Recovered.NOTHING


def _may_live(control: Control, now: float) -> bool:
    """Whether an attempt is within its deadline. One that no attempt can have is from before a clock was set back."""
    return 0.0 < (control.attempt_deadline or 0.0) - now <= LONGEST_ATTEMPT_S


def _postgres_clock(stores: Stores) -> float:
    row = stores.postgres.connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    assert row is not None
    return float(row[0])


def _supersede(stores: Stores, ours: Control) -> Recovered:
    """PostgreSQL came back after a forced rollback: it may take no writes, and has to be filled anew."""
    with stores.postgres.write() as connection:
        hold_writers(connection)
        if supersede(connection, ours.pair, ours.epoch):
            record(connection, "superseded by a forced rollback", ours.epoch, {})
    return Recovered.SUPERSEDED
