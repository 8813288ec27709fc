"""The state of the switch model, and the rules that a broken variant leaves out.

One row stands for the application's data: a set of writes, as a bit mask, so that a lost update shows. A
change log is the set of writes logged on a side, a watermark the part of the other side's log that has
been applied. Sides alternate: at odd epochs SQLite is primary, at even ones PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SQLITE, POSTGRES = "sqlite", "postgres"


@dataclass(frozen=True)
class Rules:
    """What makes the protocol safe; each is switched off in one broken variant."""

    committing_mark: bool = True  # SQLite is marked before the commit record may be written
    token_guard: bool = True  # the commit record names the attempt in its WHERE clause
    end_before_lowering: bool = True  # the attempt ends on the arbiter before the fence is lowered
    fence_check: bool = True  # a routed writer is checked again inside the database
    fence_waits: bool = True  # raising the fence on PostgreSQL waits for the writers in flight
    fence_before_drain: bool = True
    follow_under_lock: bool = True  # follow reads the arbiter while it holds SQLite's write lock
    lock_before_read: bool = True  # an applier locks the shadow before it reads the primary
    compare_standpoint: bool = True  # a small round, which reads first, is dropped if another came between
    same_epoch: bool = True  # a round compares the epochs of both control rows
    resolve_under_lock: bool = True  # an open outcome is read behind the lock of a commit under way
    resolve_by_token: bool = True  # ... and judged by the attempt's own record, not by the present epoch
    fence_by_transaction: bool = (
        True  # what lets a migration pass the shadow's fence ends with its transaction
    )
    no_abort_after_commit: bool = True  # what fails after the commit record is not reported as aborted


@dataclass(frozen=True)
class Bounds:
    """How much may happen: the state space is finite because these are."""

    writes: int = 2
    switches: int = 2
    attempts: int = 3
    coordinators: int = 2
    migrations: int = 0


class Coordinator(NamedTuple):
    """One process in `Coordinator.move`; `at` is the failpoint it has passed, "" when there is none."""

    at: str = ""
    token: int = 0
    epoch: int = 0


class State(NamedTuple):
    """Everything durable, the locks, and where each process stands."""

    # SQLite's control row
    s_epoch: int = 1
    s_writable: bool = True
    s_attempt: int = 0
    s_state: str = ""
    # PostgreSQL's control row, the arbiter
    p_epoch: int = 1
    p_writable: bool = False
    p_attempt: int = 0
    # data, change logs, and what of the other side's log has been applied
    s_row: int = 0
    p_row: int = 0
    s_log: int = 0
    p_log: int = 0
    s_seen: int = 0
    p_seen: int = 0
    # locks: SQLite's write lock and PostgreSQL's watermark row, by holder
    s_lock: str = ""
    p_lock: str = ""
    # processes
    writers: tuple[str, ...] = ()
    coordinators: tuple[Coordinator, ...] = ()
    applier: tuple[str, int, int] = ("", 0, 0)  # where it stands, and the row and log it read
    small: tuple[int, int, int, int] | None = None  # row and log a small round read, its watermark and epoch
    follower: tuple[int, int] | None = None  # epoch and attempt read off the arbiter
    migration: str = ""  # of the shadow: the side that it has open, or "block"
    migrated: int = 0  # migrations that have ended
    in_doubt: int = 0  # a token whose commit the server is still working on after its client is gone
    # what only the observer knows
    acked: int = 0
    tokens: int = 0
    committed: int = 0  # bit n: token n wrote the commit record
    wrong: str = ""


def primary(epoch: int) -> str:
    """The primary at an epoch."""
    return SQLITE if epoch % 2 else POSTGRES


def other(side: str) -> str:
    return POSTGRES if side == SQLITE else SQLITE


def started(bounds: Bounds) -> State:
    """Replicating, SQLite primary at epoch 1, nothing written yet."""
    return State(
        writers=("idle",) * bounds.writes,
        coordinators=(Coordinator(),) * bounds.coordinators,
    )


def promises(state: State) -> str:
    """The promise that a state breaks, or ""."""
    if state.wrong:
        return state.wrong
    if state.s_writable and state.p_writable:
        return "P2: both sides accept application writes"
    row = state.s_row if primary(state.p_epoch) == SQLITE else state.p_row
    if state.acked & ~row:
        return "P1: an acknowledged write is missing from the primary"
    if state.acked & ~(state.s_log | state.p_log):
        return "P1: an acknowledged write is in neither change log"
    return ""
