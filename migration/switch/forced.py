"""Forced rollback: SQLite becomes primary again although PostgreSQL, the primary, is gone.

The only act that can lose acknowledged writes, so it states which, and does nothing until they are given up
by name. It refuses while PostgreSQL answers in any way. SQLite's row goes to an epoch that PostgreSQL cannot
have reached, in one transaction. If that PostgreSQL comes back, the first process that sees both fences it
(`recover`), and it has to be filled anew.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from app.db.common.errors import NotPrepared, Refused, ShadowUnavailable, StaleAttempt
from app.db.common.urls import Side
from app.db.sides.capture.triggers import fence_message, set_fence_message
from app.db.sides.control import Control, set_primary_sqlite, sqlite_control
from app.db.sides.stores import Stores
from app.db.switch.recover import recover
from migration.common.plain import counted


@dataclass(frozen=True)
class Loss:
    """What may be missing on SQLite.

    `applied_at`: when the last round that brought changes was applied here, seconds since 1970. None if there
    never was one. `undecided`: a switch was being committed when PostgreSQL went. `announced`: keys that
    strict mode wrote here and whose commit on PostgreSQL is not confirmed. They stay as they are.
    """

    applied_at: float | None
    changes: int
    undecided: bool
    announced: int

    def __str__(self) -> str:
        if self.undecided:
            what = (
                "whatever PostgreSQL acknowledged if the switch to it, which was being committed, took place"
            )
        elif self.applied_at is None:
            what = "everything PostgreSQL acknowledged since it became primary"
        else:
            then = datetime.fromtimestamp(self.applied_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            ago = max(0.0, time.time() - self.applied_at)
            what = (
                f"everything PostgreSQL acknowledged after the last change that reached SQLite "
                f"(applied {then}, {ago:.0f} s ago)"
            )
        what += "; in sync mode, where st_degraded was 0, no caller was told that such a write had succeeded"
        unsure = f"; {counted(self.announced, 'key stands', 'keys stand')} here that PostgreSQL may not have committed"
        return f"may be lost: {what}{unsure if self.announced else ''}"


@dataclass(frozen=True)
class Forced:
    """SQLite is primary and takes writes, at `epoch`."""

    epoch: int
    loss: Loss


def examine(stores: Stores) -> tuple[Control, Loss] | None:
    """What a forced rollback would do. None if SQLite is the primary and takes writes.

    Raises:
        Refused: PostgreSQL answers.
        NotPrepared: SQLite carries no control row.
        ConfigurationError: a server answers, and refuses this user or database.
    """
    stores.sqlite.read_control()
    _must_be_gone(stores)
    recover(stores)
    control = stores.sqlite.read_control()
    if control.primary is Side.SQLITE and control.attempt is None:
        return None
    if control.primary is Side.SQLITE and control.attempt_state != "committing":
        raise Refused("a switch is under way", hint="repeat in a few seconds, it ends by itself")
    return control, _loss(stores.sqlite.connection, control)


def _must_be_gone(stores: Stores) -> None:
    try:
        stores.postgres.read_control()
    except ShadowUnavailable:
        return
    except NotPrepared:
        raise Refused(
            "a PostgreSQL server answers, but its database is not this file's partner",
            hint="check --postgres; if the partner is lost, stop this server and repeat",
        ) from None
    raise Refused("PostgreSQL answers", hint="run st-migrate rollback without --force, nothing is lost then")


def _loss(connection: sqlite3.Connection, control: Control) -> Loss:
    changes, applied_at = connection.execute(
        "SELECT changes, applied_at FROM st_watermark WHERE id = 1"
    ).fetchone()
    (announced,) = connection.execute("SELECT count(*) FROM st_pending").fetchone()
    return Loss(
        applied_at or None,
        changes,
        undecided=control.primary is Side.SQLITE,
        announced=announced,
    )


def force(stores: Stores, seen: Control, loss: Loss) -> Forced:
    """Make SQLite primary and writable.

    Raises:
        StaleAttempt: the control row is not any more what `examine` saw.
    """
    # A switch that was being committed may have taken PostgreSQL one epoch further; stay ahead of it.
    epoch = seen.epoch + (2 if loss.undecided else 1)
    with stores.sqlite.write() as connection:
        if sqlite_control(connection) != seen:
            raise StaleAttempt("SQLite's control row changed meanwhile", hint="see st-migrate status")
        set_primary_sqlite(connection, seen, Side.SQLITE, epoch)
        connection.execute("DELETE FROM st_pending")
        set_fence_message(connection, fence_message(Side.SQLITE, epoch))
    return Forced(epoch, loss)
