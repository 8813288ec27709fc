"""Where the move stands: what each side says, how far the copy and the shadow are, what blocks, what is next.

Reads only, and as much as can be read. With PostgreSQL away SQLite's half is still shown. Before `prepare`
there is little else to say.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg

from app.db.common.errors import PUT_RIGHT, NotPrepared, SwitchError, first_line, is_missing
from app.db.common.urls import Pair, Side, shown
from app.db.revisions.source import SchemaSource, source_of
from app.db.rows.catalog import names_left_out
from app.db.sides.control import Control
from app.db.sides.locks import readers_of_keys
from app.db.sides.phase import Phase
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.store import SqliteStore
from app.db.sides.stores import Stores
from app.db.switch.gates import until_cutover
from app.db.switch.state import readiness
from app.db.switch.state.checks import Check
from migration.common.pace import Limits, stored_limits
from migration.fill.run import CopyProgress, progress
from migration.switch import retired
from migration.watch.moving import Moving, moving
from migration.watch.orphan_counts import unvalidated_keys

KEEP_FROM_APPLYING = ("file", "schema", "capture")
SOUND = ("file", "writable", "schema", "columns", "capture")


@dataclass
class SideStatus:
    """One side: `error` says why it could not be read, `retired_at` is the epoch of its permanent fence."""

    url: str
    reachable: bool = True
    error: str | None = None
    control: Control | None = None
    retired_at: int | None = None

    def as_json(self) -> dict[str, Any]:
        control = self.control
        return {
            "url": self.url,
            "reachable": self.reachable,
            "error": self.error,
            "prepared": control is not None,
            "primary": control and str(control.primary),
            "epoch": control and control.epoch,
            "writable": control and control.writable,
            "retired_at_epoch": self.retired_at,
        }


@dataclass
class Status:
    """Everything that status shows. None where it cannot be known or does not exist yet.

    `gates` are all checks, `checks` those that do not hold.
    """

    sqlite: SideStatus
    postgres: SideStatus
    lag: readiness.Lag | None = None
    copy: CopyProgress | None = None
    verify: readiness.LastVerify | None = None
    moving: Moving | None = None
    objection: readiness.Objection | None = None
    quarantine: readiness.Quarantined | None = None
    gates: list[Check] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    apply: readiness.ApplyState | None = None
    readers: list[str] = field(default_factory=list)
    foreign_keys: list[dict[str, Any]] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    left_out: list[str] = field(default_factory=list)
    problem: str | None = None

    @property
    def control(self) -> Control | None:
        """What counts: PostgreSQL's row, SQLite's where that cannot be read or is behind."""
        ours, theirs = self.sqlite.control, self.postgres.control
        if ours is not None and (theirs is None or ours.epoch > theirs.epoch):
            return ours
        return theirs

    @property
    def state(self) -> str:
        """One word for where the move stands."""
        if self.control is None:
            return "completed" if self.retired_at is not None else "not_prepared"
        if not self.postgres.reachable:
            return "postgres_unreachable"
        if self.postgres.control is None:
            return "mismatched"
        if self.sqlite.control is None:
            bare = self.postgres.control.phase in _SQLITE_BARE
            return str(self.postgres.control.phase) if bare else "mismatched"
        if self.sqlite.control.pair != self.postgres.control.pair:
            return "mismatched"
        if self.sqlite.control.epoch > self.postgres.control.epoch:
            return "postgres_superseded"
        return str(self.postgres.control.phase)

    @property
    def retired_at(self) -> int | None:
        return self.sqlite.retired_at if self.sqlite.retired_at is not None else self.postgres.retired_at

    @property
    def primary(self) -> Side | None:
        if self.control is not None:
            return self.control.primary
        if self.sqlite.retired_at is not None:
            return Side.POSTGRES
        return Side.SQLITE if self.postgres.retired_at is not None else None

    @property
    def paused(self) -> bool:
        """Whether either row says so: a `pause` or `resume` that died has reached one side only."""
        return any(side.control is not None and side.control.paused for side in (self.sqlite, self.postgres))

    @property
    def attempt(self) -> dict[str, Any] | None:
        """The switch that is under way."""
        control = self.control
        if control is None or control.attempt is None:
            return None
        left = None if control.attempt_deadline is None else control.attempt_deadline - time.time()
        return {"by": control.note, "state": control.attempt_state, "seconds_left": left}

    def as_json(self) -> dict[str, Any]:
        control, verify, held = self.control, self.verify, self.quarantine
        return {
            "state": self.state,
            "phase": control and self.postgres.control and self.postgres.control.phase,
            "primary": self.primary and str(self.primary),
            "epoch": control.epoch if control else self.retired_at,
            "sides": {"sqlite": self.sqlite.as_json(), "postgres": self.postgres.as_json()},
            "lag": self.lag and asdict(self.lag),
            "apply": self.apply,
            "copy": self.copy and self.copy.as_json(),
            "verify": verify and verify.as_json(),
            "moving": self.moving and self.moving.as_json(),
            "quarantine": held
            and {
                "rows": held.rows,
                "unaccepted": held.unaccepted,
                "held_by": list(held.holders),
                "first": list(held.named),
            },
            "foreign_keys_not_valid": self.foreign_keys,
            "left_out": self.left_out,
            "paused": self.paused,
            "throttle": asdict(self.limits) if self.limits != Limits() else None,
            "attempt": self.attempt,
            "blocks": blocks(self),
            "next": next_command(self),
        }


_WAITING = (readiness.ApplyState.MISSING, readiness.ApplyState.BEHIND)
_SQLITE_BARE = (Phase.PREPARING, Phase.COMPLETING)  # phases in which SQLite may carry no control row


def gather(
    pair: Pair,
    stores: Stores,
    *,
    count_orphans: bool = True,
    source: SchemaSource | None = None,
    known: list[Check] | None = None,
) -> Status:
    """Read both sides.

    Args:
        source: what tells the sides' schemas apart; None: the pair's own.
        known: checks of a moment ago, which are not made again then.
        count_orphans: also count what keeps foreign keys from being valid, which reads tables.

    Raises:
        ConfigurationError: the SQLite file is missing or is none.
    """
    status = Status(SideStatus(shown(pair.sqlite)), SideStatus(shown(pair.postgres)))
    _read_sqlite(stores.sqlite, status.sqlite)
    status.left_out = names_left_out(stores.sqlite.connection)
    _read_postgres(stores.postgres, status.postgres)
    if status.postgres.control is None:
        return status
    try:
        connection = stores.postgres.connection
        status.limits = stored_limits(stores.postgres)
        status.copy = progress(stores.postgres)
        status.verify = readiness.last_verify(connection)
        status.moving = moving(stores, status.copy, status.verify)
        if status.control is not None:
            status.objection = readiness.verify_objection(status.verify, status.control.epoch)
        status.quarantine = readiness.quarantined(connection)
        if status.state in (Phase.COPYING, Phase.REPLICATING):
            if known is None:
                known = until_cutover(stores, source or source_of(connection))
            status.gates = known
            status.checks = [check for check in status.gates if not check.ok]
            closed = {check.name for check in status.checks}
            status.apply = readiness.ApplyState.STANDING
            if "file" not in closed:  # positions of an older file tell nothing
                status.lag = readiness.lag(stores)
                standing = bool(closed.intersection(KEEP_FROM_APPLYING))
                status.apply = readiness.apply_state(stores, status.lag, standing=standing)
                if status.apply in _WAITING and status.primary is Side.SQLITE:
                    status.readers = readers_of_keys(connection)
            if count_orphans:
                status.foreign_keys = unvalidated_keys(stores)
    except (SwitchError, psycopg.Error, sqlite3.Error) as error:
        status.problem = f"{first_line(error)} ({PUT_RIGHT})" if is_missing(error) else first_line(error)
    return status


def _read_sqlite(store: SqliteStore, side: SideStatus) -> None:
    side.retired_at = retired.sqlite_retired_at(store.connection)
    try:
        side.control = store.read_control()
    except NotPrepared:
        side.control = None


def _read_postgres(store: PostgresStore, side: SideStatus) -> None:
    try:
        side.retired_at = retired.postgres_retired_at(store.connection)
        side.control = store.read_control()
    except NotPrepared:
        side.control = None
    except (SwitchError, psycopg.Error) as error:
        side.reachable = False
        side.error = first_line(error)


def blocks(status: Status) -> list[str]:
    """What keeps the move from going on, in the operator's words."""
    found: list[str] = []
    if not status.postgres.reachable:
        found.append(f"PostgreSQL cannot be read: {status.postgres.error}")
    if status.problem:
        found.append(status.problem)
    if status.state == "mismatched":
        found.append("the two databases do not belong together, or one was replaced")
    if status.state == "postgres_superseded":
        assert status.control is not None
        found.append(f"{status.control.ahead}; put the newer one back, or fill it anew from SQLite")
    if attempt := status.attempt:
        found.append(f"a switch is under way ({attempt['state']})")
    if status.paused:
        found.append("apply and backfill are paused")
    replicating = status.state == Phase.REPLICATING
    found += _once([text for check in status.checks if (text := _blocked(check, status, replicating))])
    if status.lag and status.apply in _WAITING:
        nobody = ": nobody applies" if status.apply is readiness.ApplyState.MISSING else ""
        if status.readers:
            nobody = (
                ": foreign keys of PostgreSQL have to go first, and transactions there read their tables: "
                f"{', '.join(status.readers[:3])}; end these (SELECT pg_terminate_backend(PID))"
            )
        found.append(f"the shadow is {status.lag.seconds:.0f} s behind{nobody}")
    return found


def _blocked(check: Check, status: Status, replicating: bool) -> str | None:
    """A check that does not hold, as a line. None where another line has said so."""
    if check.name not in ("attempt", *SOUND) and not replicating:
        return None  # the copy comes first
    if check.name == "phase" or (check.name == "attempt" and status.attempt):
        return None
    if check.name == "quarantine" and status.quarantine:
        return status.quarantine.open_text()
    if check.name == "verify":
        return status.objection.text if status.objection else check.detail
    return f"{check.detail} ({check.remedy})"


def _once(lines: list[str]) -> list[str]:
    """Lines without those that say in other checks' names what one has said: a schema that differs closes several."""
    told: dict[str, str] = {}
    for line in lines:
        told.setdefault(line.partition(" (")[0], line)
    return list(told.values())


_NEXT: dict[str, str | None] = {
    "not_prepared": "preflight",
    "completed": None,
    "mismatched": None,
    "postgres_superseded": "abort",
    str(Phase.PREPARING): "prepare",
}


def next_command(status: Status) -> str | None:
    """What to run next. None where nothing is left to do, or no command of ours settles what blocks."""
    if status.state == Phase.COMPLETING:
        verb: str | None = _under_way(status)
    elif status.state == "postgres_superseded" and status.primary is Side.POSTGRES:
        verb = None  # abort would make SQLite the primary, without what the newer PostgreSQL holds
    elif status.state in _NEXT:
        verb = _NEXT[status.state]
    elif status.state == "postgres_unreachable":
        verb = "recover" if status.attempt else None
    else:
        verb = _while_applying(status)
    return verb and f"st-migrate {verb}"


def _under_way(status: Status) -> str:
    """The command that began to end the move; it is on the arbiter's row."""
    control = status.postgres.control
    try:
        return str(json.loads(control.note)["verb"]) if control and control.note else "complete"
    except (ValueError, KeyError, TypeError):
        return "complete"


def _while_applying(status: Status) -> str | None:
    control = status.control
    failing = {check.name: check for check in status.checks}
    if "file" in failing:
        return failing["file"].command
    if (control is not None and control.attempt is not None) or "attempt" in failing:
        return "recover"
    for name in SOUND:
        if name in failing:
            return failing[name].command
    if status.paused:
        return "resume"
    if status.apply is readiness.ApplyState.MISSING:
        return "worker"
    if status.state == Phase.COPYING:
        return "backfill"
    for name in ("quarantine", "verify", "indexes", "sequences"):
        if name in failing:
            return failing[name].command
    if status.problem or ("space" in failing and status.primary is Side.SQLITE):
        return None
    return "cutover" if status.primary is Side.SQLITE else "complete"
