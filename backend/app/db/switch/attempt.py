"""The end of an attempt that has not committed, and how SQLite's row follows the arbiter's."""

from __future__ import annotations

import psycopg

from app.db.common.errors import ShadowUnavailable
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Side
from app.db.sides.capture.triggers import fence_message, set_fence_message
from app.db.sides.control import (
    Control,
    end_postgres,
    release_sqlite,
    set_primary_sqlite,
)
from app.db.sides.phase import record
from app.db.sides.sqlite.files import older_epoch
from app.db.sides.stores import Stores
from app.db.switch.state.stamp import own_change

MOST_PAUSE_MS = 600_000  # the largest budget that an attempt may be given
ATTEMPT_GRACE_S = 1.0  # how long after its pause budget an attempt may still be alive
BEFORE_FENCE_S = 5.0  # how long it may live before its fence is up
LONGEST_ATTEMPT_S = BEFORE_FENCE_S + MOST_PAUSE_MS / 1000 + ATTEMPT_GRACE_S


def end_attempt(stores: Stores, token: str, reason: str) -> bool:
    """End an attempt that has not committed: first on the arbiter's record, then lower the fence.

    PostgreSQL may be away, and the attempt may not have reached `committing`. Then SQLite is released alone:
    the attempt can no longer pass that mark.

    Returns:
        Whether the attempt was still on record.
    """
    try:
        with stores.postgres.write() as connection:
            epoch = end_postgres(connection, token)
            if epoch is not None:
                record(connection, "attempt ended", epoch, {"reason": reason})
    except (psycopg.OperationalError, ShadowUnavailable):
        return release_alone(stores, token)
    failpoint(Failpoint.RECOVER_DECIDED)
    follow(stores)
    return epoch is not None


def release_alone(stores: Stores, token: str) -> bool:
    """Lower SQLite's fence without PostgreSQL, which is safe only before `committing`."""
    return release_sqlite(stores.sqlite.connection, token)


def follow(stores: Stores) -> bool:
    """Bring SQLite's control row to what the arbiter says.

    Only ever forward: an older epoch never overwrites a newer one, and the fence of a live attempt is
    left alone.

    Returns:
        Whether SQLite's row was changed.
    """
    if _following(stores.postgres.read_control(), stores.sqlite.read_control()) is None:
        return False
    with stores.sqlite.write() as connection:
        # Read again under the write lock: no attempt can raise the fence between here and the commit.
        ours = stores.sqlite.read_control()
        wanted = _following(stores.postgres.read_control(), ours)
        if wanted is None:
            return False
        if wanted.epoch > ours.epoch + 1:
            raise older_epoch(ours.epoch, wanted.epoch)
        set_primary_sqlite(connection, ours, wanted.primary, wanted.epoch)
        if ours.epoch != wanted.epoch:
            with own_change(stores):
                set_fence_message(connection, fence_message(wanted.primary, wanted.epoch))
    return True


def _following(arbiter: Control, ours: Control) -> Control | None:
    """The arbiter's row if SQLite's has to change to agree with it."""
    if ours.pair != arbiter.pair or ours.epoch > arbiter.epoch:
        return None
    if arbiter.attempt is not None and arbiter.attempt == ours.attempt:
        return None
    agreed = (ours.epoch, ours.writable, ours.attempt) == (
        arbiter.epoch,
        arbiter.primary is Side.SQLITE,
        None,
    )
    return None if agreed else arbiter
