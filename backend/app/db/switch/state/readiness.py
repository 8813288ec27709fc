"""Whether the shadow is known to be equal: the last verify, the rows in quarantine, the lag. Reads only.

The gates of a switch demand it, `complete` demands it, and status shows it: one answer for all three.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import psycopg

from app.db.apply.round import Applier
from app.db.common.errors import counted
from app.db.common.urls import Side
from app.db.rows.catalog import Schema
from app.db.sides.phase import APPLYING_PHASES, Phase
from app.db.sides.postgres.aside import SIDE
from app.db.sides.stores import Stores
from app.db.switch.state.stamp import schema_stamp

Connection = psycopg.Connection[Any]
MEND = (
    "run st-migrate quarantine list, and st-migrate preflight for the remedies; then fix or accept each row. After a "
    "change of migration.toml start the worker anew and run st-migrate quarantine retry --all"
)
NAMED = 6  # rows in quarantine that are named at most


@dataclass(frozen=True)
class LastVerify:
    """The last run over all tables; `finished_at` is None while it has not ended.

    `tables` are those that the verify compared, and `run` ends with the fingerprint of their schema. `later`
    counts the mismatches on record. It is more than `mismatches` if a verify of some tables has found more
    since. Times are in seconds since 1970.
    """

    run: str
    tables: tuple[str, ...]
    started_at: float
    finished_at: float | None
    epoch: int
    rows: int
    mismatches: int
    later: int

    @property
    def clean(self) -> bool:
        return self.finished_at is not None and self.mismatches == 0

    def as_json(self) -> dict[str, Any]:
        names = ("started_at", "finished_at", "epoch", "rows", "mismatches", "clean")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Objection:
    """Why the shadow is not known to be equal, and the st-migrate command that answers it."""

    text: str
    command: str


class Quarantined(NamedTuple):
    """Rows in quarantine, how many of them nobody has accepted, and the names of the first of those.

    `holders` are the sides that hold the latter.
    """

    rows: int
    unaccepted: int
    named: tuple[str, ...]
    holders: tuple[str, ...] = ()

    def open_text(self) -> str:
        """What keeps a switch from taking place, for the operator."""
        here = " and ".join(self.holders)
        named = ", ".join(self.named) + (" ..." if self.unaccepted > len(self.named) else "")
        rows = counted(self.unaccepted, f"row of {here} is", f"rows of {here} are")
        return f"{rows} in quarantine and not accepted: {named}"


@dataclass(frozen=True)
class Lag:
    """What the primary has logged and the shadow not applied; `seconds` is the oldest entry's age."""

    entries: int
    seconds: float


def fingerprint(schema: Schema) -> str:
    """A short text that stands for the tables, their columns and kinds."""
    return hashlib.sha256(repr(sorted(schema.items())).encode()).hexdigest()[:12]


def last_verify(connection: Connection) -> LastVerify | None:
    """The last verify, None if there is none or it was outdated."""
    row = connection.execute(
        "SELECT run, tables, started_at, finished_at, epoch, rows, mismatches, "
        "(SELECT count(*) FROM st_mismatch) FROM st_verify WHERE id = 1"
    ).fetchone()
    return LastVerify(row[0], tuple(json.loads(row[1])), *row[2:]) if row else None


def verify_mark(stores: Stores, schema: Schema) -> str:
    """What the name of a verify's run ends with: its tables' fingerprint and the stamp of both schemas."""
    return f"{fingerprint(schema)}.{schema_stamp(stores, schema)}"


def verify_objection(
    verify: LastVerify | None, epoch: int, schema: Schema | None = None, mark: str = ""
) -> Objection | None:
    """Why the last verify does not count. None if it does.

    Args:
        epoch: the present one.
        schema: the present tables. None where they need not be those that were compared.
        mark: their `verify_mark`.
    """
    if verify is None or verify.finished_at is None:
        return Objection("there is no finished verify", "verify")
    if verify.epoch != epoch:
        return Objection(f"the last verify belongs to epoch {verify.epoch}", "verify")
    if verify.mismatches:
        told = counted(verify.mismatches, "mismatch", "mismatches")
        return Objection(f"the last verify found {told}", "verify --repair")
    if verify.later:
        told = counted(verify.later, "mismatch", "mismatches")
        return Objection(f"a later verify found {told}", "verify --repair")
    if schema is None:
        return None
    if list(verify.tables) != sorted(schema) or f"-{fingerprint(schema)}." not in verify.run:
        return Objection("the schema has changed since the last verify", "verify")
    if not verify.run.endswith(mark):
        return Objection("tables were altered, rebuilt or rewritten since the last verify", "verify")
    return None


def quarantined(connection: Connection) -> Quarantined:
    """What stands in quarantine."""
    row = connection.execute(
        (
            "SELECT count(*), count(*) FILTER (WHERE accepted_by IS NULL), "
            "(array_agg(q.tbl || ' ' || q.k ORDER BY q.tbl, q.k) FILTER (WHERE accepted_by IS NULL))[:%s], "
            f"array_agg(DISTINCT {SIDE}) FILTER (WHERE accepted_by IS NULL) FROM st_quarantine q"
        ).encode(),
        (NAMED,),
    ).fetchone()
    assert row is not None
    return Quarantined(
        int(row[0]), int(row[1]), tuple(row[2] or ()), tuple(sorted(row[3] or (), reverse=True))
    )


def left_behind(connection: Connection, on: Side) -> list[tuple[str, str]]:
    """Rows, by table and key, that only one side holds: what is lost to the other, and with this side."""
    rows = connection.execute(
        f"SELECT q.tbl, q.k FROM st_quarantine q WHERE {SIDE} = %s ORDER BY q.tbl, q.k".encode(), (str(on),)
    ).fetchall()
    return [(table, key) for table, key in rows]


def lag(stores: Stores) -> Lag:
    """How far the shadow is behind at this moment."""
    primary, shadow = stores.directions()
    position = shadow.read_position()
    with primary.source() as source:
        backlog = source.backlog(position)
    oldest = backlog.oldest
    return Lag(backlog.entries, max(0.0, time.time() - oldest) if oldest is not None else 0.0)


class ApplyState(StrEnum):
    """What becomes of changes, as the databases show it to whoever looks."""

    APPLYING = "applying"  # the shadow has everything, or is at most some seconds behind
    BEHIND = "behind"  # somebody applies, and is slower than the writers
    MISSING = "missing"  # changes wait and nobody has applied any for some seconds
    PAUSED = "paused"  # `pause` holds every applier
    STANDING = "standing"  # the sides differ or capture is incomplete: appliers wait until that is settled
    NONE = "none"  # no phase in which anything is applied
    UNKNOWN = "unknown"  # a side does not answer


BEHIND_S = 5.0


def apply_state(stores: Stores, found: Lag, *, standing: bool) -> ApplyState:
    """The state of apply.

    Args:
        found: the lag as it was just measured.
        standing: whether a check that apply depends on does not hold.

    Raises:
        NotPrepared: a side carries no control row.
    """
    arbiter = stores.postgres.read_control()
    if arbiter.phase not in APPLYING_PHASES:
        return ApplyState.NONE
    _, shadow = stores.directions()
    if shadow.read_control().paused:
        return ApplyState.PAUSED
    if standing:
        return ApplyState.STANDING
    if found.seconds <= BEHIND_S:
        return ApplyState.APPLYING
    idle = time.time() - shadow.read_watermark()[1]
    return ApplyState.MISSING if idle > BEHIND_S else ApplyState.BEHIND


def open_points(applier: Applier) -> list[str]:
    """Why the shadow is not known to equal the primary; drains first, empty when it is."""
    control = applier.stores.postgres.read_control()
    if control.phase != Phase.REPLICATING:
        return [f"the pair is in phase {control.phase}"]
    applier.drain()
    connection = applier.stores.postgres.connection
    points: list[str] = []
    schema = applier.schema()
    mark = verify_mark(applier.stores, schema)
    if objection := verify_objection(last_verify(connection), control.epoch, schema, mark):
        points.append(f"{objection.text}: run st-migrate {objection.command}")
    held = quarantined(connection)
    if held.unaccepted:
        points.append(f"{held.open_text()}: see st-migrate quarantine list")
    return points
