"""Finish or undo what a dead process left between the two control rows; any process may do it.

Nothing here waits for anybody and everything is guarded by the attempt token or the epoch, so any number
of recoverers and a coordinator that turns out to be alive can run at once.
"""

from __future__ import annotations

import time
from enum import StrEnum

import psycopg

from app.db.apply.round import Applier
from app.db.common.errors import NotPrepared, ShadowUnavailable
from app.db.sides.capture.triggers import WRITER_LOCK
from app.db.sides.contract import Control
from app.db.sides.phase import record
from app.db.switch.coordinator import end_attempt, follow, release_alone
from app.db.switch.writable import fence_second


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


def recover(applier: Applier) -> Recovered:
    """Bring both control rows to one state.

    Raises:
        NotPrepared: a side carries no control row, or that of another pair.
    """
    ours = applier.sqlite.read_control()
    try:
        arbiter = applier.postgres.read_control()
    except (psycopg.OperationalError, ShadowUnavailable):
        if ours.attempt is None:
            return Recovered.NOTHING
        if (ours.attempt_deadline or 0.0) > time.time():
            return Recovered.WAIT
        return Recovered.RELEASED if release_alone(applier, ours.attempt) else Recovered.UNKNOWN
    if ours.pair != arbiter.pair:
        raise NotPrepared("the two databases belong to different pairs", hint="check both URLs")
    if ours.epoch > arbiter.epoch:
        return _supersede(applier, ours)
    if arbiter.attempt is not None:
        if (arbiter.attempt_deadline or 0.0) > _postgres_clock(applier):
            return Recovered.WAIT
        end_attempt(applier, arbiter.attempt, "its coordinator died")
        return Recovered.ENDED
    if fence_second(applier) is not None:
        return Recovered.FENCED
    return Recovered.FOLLOWED if follow(applier) else Recovered.NOTHING


def _postgres_clock(applier: Applier) -> float:
    row = applier.postgres.connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    assert row is not None
    return float(row[0])


def _supersede(applier: Applier, ours: Control) -> Recovered:
    """PostgreSQL came back after a forced rollback: it may take no writes, and has to be filled anew."""
    with applier.postgres.write() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", WRITER_LOCK)
        fenced = connection.execute(
            "UPDATE st_control SET writable = false, attempt = NULL, attempt_state = NULL, "
            "note = 'superseded by a forced rollback' "
            "WHERE id = 1 AND pair = %s AND epoch < %s AND (writable OR note IS NULL)",
            (ours.pair, ours.epoch),
        ).rowcount
        if fenced:
            record(connection, "superseded by a forced rollback", ours.epoch, {})
    return Recovered.SUPERSEDED
