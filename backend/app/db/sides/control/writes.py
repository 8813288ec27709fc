"""Every write on the control rows; each UPDATE names what its caller believes."""

from __future__ import annotations

import sqlite3
from typing import Any

from app.db.common.errors import StaleAttempt
from app.db.common.urls import Side
from app.db.sides.control.row import NO_PHASE, Control, Postgres
from app.db.sides.phase import TRANSITIONS, Phase, record


def claim_postgres(connection: Postgres, pair: str) -> None:
    """Make the arbiter's row: SQLite is primary, PostgreSQL is fenced. A second row is refused by its key."""
    connection.execute(
        "INSERT INTO st_control (id, pair, side, primary_side, epoch, phase, writable, applying, paused) "
        "VALUES (1, %s, 'postgres', 'sqlite', 1, %s, false, false, false)",
        (pair, Phase.PREPARING),
    )


def claim_sqlite(connection: sqlite3.Connection, pair: str, note: str) -> None:
    """Make SQLite's row, which takes writes; a row that is there stays as it is.

    Args:
        note: what the end of the move has to put back.
    """
    connection.execute(
        "INSERT OR IGNORE INTO st_control (id, pair, side, primary_side, epoch, phase, writable, applying, paused, note) "
        "VALUES (1, ?, 'sqlite', 'sqlite', 1, ?, 1, 0, 0, ?)",
        (pair, NO_PHASE, note),
    )


def advance(connection: Postgres, frm: Phase, to: Phase, epoch: int) -> None:
    """Move from one phase to the next, in the caller's transaction, and record it.

    Raises:
        ValueError: there is no such move.
        StaleAttempt: the pair is not (any more) in phase `frm` at this epoch.
    """
    if to not in TRANSITIONS[frm]:
        raise ValueError(f"there is no move from {frm} to {to}")
    moved = connection.execute(
        "UPDATE st_control SET phase = %s WHERE id = 1 AND phase = %s AND epoch = %s", (to, frm, epoch)
    ).rowcount
    if not moved:
        raise StaleAttempt(f"the pair is not in phase {frm} at epoch {epoch}", hint="see st-migrate status")
    record(connection, f"phase {to}", epoch, {"from": frm})


def note_ending(connection: Postgres, epoch: int, note: str) -> bool:
    """Keep on the arbiter's row how the move is being ended, so that a second call goes on with it."""
    return _update(
        connection,
        "UPDATE st_control SET note = %s WHERE id = 1 AND phase = %s AND epoch = %s",
        (note, Phase.COMPLETING, epoch),
    )


def pause_postgres(connection: Postgres, pair: str, paused: bool) -> bool:
    """Hold appliers and backfills whose shadow is PostgreSQL, or let them go on."""
    return _update(connection, "UPDATE st_control SET paused = %s WHERE id = 1 AND pair = %s", (paused, pair))


def pause_sqlite(connection: sqlite3.Connection, pair: str, paused: bool) -> bool:
    """The same for appliers whose shadow is SQLite."""
    return _update(connection, "UPDATE st_control SET paused = ? WHERE id = 1 AND pair = ?", (paused, pair))


def begin_attempt(
    connection: Postgres, seen: Control, token: str, *, phase: Phase | None, seconds: float, note: str
) -> bool:
    """Put an attempt on the arbiter's record if the pair still is as its caller saw it.

    Args:
        phase: the phase in which this attempt may begin.
        seconds: how long the attempt may live; then anybody may end it.
        note: who makes it.
    """
    return _update(
        connection,
        "UPDATE st_control SET attempt = %s, attempt_state = 'begun', "
        "attempt_deadline = extract(epoch FROM clock_timestamp()) + %s, note = %s "
        "WHERE id = 1 AND attempt IS NULL AND epoch = %s AND primary_side = %s AND phase = %s",
        (token, seconds, note, seen.epoch, seen.primary, phase),
    )


def fence_sqlite(connection: sqlite3.Connection, token: str, epoch: int, deadline: float) -> bool:
    """Raise SQLite's fence for an attempt; `deadline` is in seconds since 1970."""
    return _update(
        connection,
        "UPDATE st_control SET writable = 0, attempt = ?, attempt_state = 'draining', "
        "attempt_deadline = ? WHERE id = 1 AND epoch = ? AND attempt IS NULL AND writable = 1",
        (token, deadline, epoch),
    )


def fence_postgres(connection: Postgres, token: str, epoch: int) -> bool:
    """Raise PostgreSQL's fence for the attempt on its record; the caller has waited for all writers."""
    return _update(
        connection,
        "UPDATE st_control SET writable = false, attempt_state = 'draining' "
        "WHERE id = 1 AND epoch = %s AND attempt = %s AND writable",
        (epoch, token),
    )


def renew_postgres(connection: Postgres, token: str, seconds: float) -> bool:
    """Let an attempt live for so many seconds from now, by the arbiter's row."""
    return _update(
        connection,
        "UPDATE st_control SET attempt_deadline = extract(epoch FROM clock_timestamp()) + %s "
        "WHERE id = 1 AND attempt = %s",
        (seconds, token),
    )


def renew_sqlite(connection: sqlite3.Connection, token: str, deadline: float) -> bool:
    """Let an attempt live until `deadline`, in seconds since 1970, by SQLite's row."""
    return _update(
        connection,
        "UPDATE st_control SET attempt_deadline = ? WHERE id = 1 AND attempt = ?",
        (deadline, token),
    )


def mark_committing(connection: sqlite3.Connection, token: str) -> bool:
    """Say on SQLite's row that from now on only PostgreSQL knows whether the switch took place."""
    return _update(
        connection,
        "UPDATE st_control SET attempt_state = 'committing' WHERE id = 1 AND attempt = ?",
        (token,),
    )


def promote(connection: Postgres, to: Side, token: str, epoch: int) -> bool:
    """The commit record of a switch: `to` becomes primary, one epoch later."""
    return _update(
        connection,
        "UPDATE st_control SET primary_side = %s, epoch = epoch + 1, writable = %s, attempt = NULL, "
        "attempt_state = NULL, attempt_deadline = NULL, note = NULL "
        "WHERE id = 1 AND attempt = %s AND epoch = %s AND NOT writable",
        (to, to is Side.POSTGRES, token, epoch),
    )


def end_postgres(connection: Postgres, token: str) -> int | None:
    """Take an attempt that has not committed off the record and lower the fence. Returns the epoch."""
    row = connection.execute(
        "UPDATE st_control SET attempt = NULL, attempt_state = NULL, attempt_deadline = NULL, note = NULL, "
        "writable = (primary_side = 'postgres') WHERE id = 1 AND attempt = %s RETURNING epoch",
        (token,),
    ).fetchone()
    return None if row is None else int(row[0])


def release_sqlite(connection: sqlite3.Connection, token: str) -> bool:
    """Lower SQLite's fence without asking PostgreSQL; only an attempt before `committing` can be released."""
    return _update(
        connection,
        "UPDATE st_control SET writable = 1, attempt = NULL, attempt_state = NULL, attempt_deadline = NULL "
        "WHERE id = 1 AND attempt = ? AND attempt_state = 'draining'",
        (token,),
    )


def set_primary_sqlite(connection: sqlite3.Connection, seen: Control, primary: Side, epoch: int) -> bool:
    """Set SQLite's row to a primary and an epoch, without an attempt.

    Args:
        seen: the row as the caller read it under the write lock.
    """
    return _update(
        connection,
        "UPDATE st_control SET primary_side = ?, epoch = ?, writable = ?, attempt = NULL, attempt_state = NULL, "
        "attempt_deadline = NULL WHERE id = 1 AND pair = ? AND epoch = ?",
        (primary, epoch, primary is Side.SQLITE, seen.pair, seen.epoch),
    )


def supersede(connection: Postgres, pair: str, epoch: int) -> bool:
    """Fence a PostgreSQL that a forced rollback, which took SQLite to `epoch`, left behind."""
    return _update(
        connection,
        "UPDATE st_control SET writable = false, attempt = NULL, attempt_state = NULL, "
        "note = 'superseded by a forced rollback' "
        "WHERE id = 1 AND pair = %s AND epoch < %s AND (writable OR note IS NULL)",
        (pair, epoch),
    )


def open_fence_sqlite(connection: sqlite3.Connection, epoch: int, *, writable: bool) -> None:
    """Lower or raise SQLite's fence where nobody else can see it.

    Raises:
        StaleAttempt: the row is not (any more) at this epoch.
    """
    at_epoch = "UPDATE st_control SET writable = ? WHERE id = 1 AND epoch = ?"
    _require(_update(connection, at_epoch, (writable, epoch)), epoch)


def open_fence_postgres(connection: Postgres, epoch: int, *, writable: bool) -> None:
    """The same on PostgreSQL."""
    at_epoch = "UPDATE st_control SET writable = %s WHERE id = 1 AND epoch = %s"
    _require(_update(connection, at_epoch, (writable, epoch)), epoch)


def fence_second_sqlite(connection: sqlite3.Connection, epoch: int) -> bool:
    """Fence a SQLite side that is not primary at this epoch."""
    return _update(
        connection,
        "UPDATE st_control SET writable = 0, applying = 0 WHERE id = 1 AND epoch = ? AND attempt IS NULL",
        (epoch,),
    )


def fence_second_postgres(connection: Postgres, epoch: int) -> bool:
    """Fence a PostgreSQL that is not primary at this epoch; the caller has waited for all writers."""
    return _update(
        connection,
        "UPDATE st_control SET writable = false WHERE id = 1 AND epoch = %s "
        "AND primary_side = 'sqlite' AND attempt IS NULL",
        (epoch,),
    )


def set_migrating_sqlite(connection: sqlite3.Connection, epoch: int, migrating: bool) -> None:
    """Set or clear the mark that lets a migration of the shadow pass the fence, captured, see `locks`.

    Raises:
        StaleAttempt: the row is not (any more) at this epoch.
    """
    at_epoch = "UPDATE st_control SET applying = ? WHERE id = 1 AND epoch = ?"
    _require(_update(connection, at_epoch, (2 if migrating else 0, epoch)), epoch)


def set_applying_sqlite(connection: sqlite3.Connection, applying: bool) -> None:
    """Set or clear the mark that lets an applier pass fence and capture, see `locks`."""
    connection.execute(
        "UPDATE st_control SET applying = ? WHERE id = 1 AND applying = ?", (applying, not applying)
    )


def _update(connection: Any, statement: str, parameters: tuple[object, ...]) -> bool:
    """Whether a guarded UPDATE, on either side, has found the row as its caller believed it to be."""
    return bool(connection.execute(statement, parameters).rowcount)


def _require(changed: bool, epoch: int) -> None:
    if not changed:
        raise StaleAttempt(f"the pair is not at epoch {epoch} any more", hint="see st-migrate status")
