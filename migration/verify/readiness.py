"""What is known about the shadow: the last verify, the quarantine, the lag; read only.

Used by status, which shows it, and by complete, which demands it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from app.db.apply.round import Applier
from app.db.sides.phase import Phase
from app.db.sides.stores import Stores

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class LastVerify:
    """The run that st_verify describes; `finished_at` is None while it has not ended."""

    started_at: float
    finished_at: float | None
    epoch: int
    rows: int
    mismatches: int

    @property
    def clean(self) -> bool:
        return self.finished_at is not None and self.mismatches == 0


@dataclass(frozen=True)
class Lag:
    """What the primary has logged and the shadow not applied; `seconds` is the oldest entry's age."""

    entries: int
    seconds: float


def last_verify(connection: Connection) -> LastVerify | None:
    """The last verify, None if there is none or it was outdated."""
    row = connection.execute(
        "SELECT started_at, finished_at, epoch, rows, mismatches FROM st_verify WHERE id = 1"
    ).fetchone()
    return LastVerify(*row) if row else None


def quarantined(connection: Connection) -> tuple[int, int]:
    """Rows in quarantine, and how many of them nobody has accepted."""
    row = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE accepted_by IS NULL) FROM st_quarantine"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def lag(stores: Stores) -> Lag:
    """How far the shadow is behind at this moment."""
    primary, shadow = stores.directions()
    position = shadow.read_position()
    with primary.source() as source:
        backlog = source.backlog(position)
    oldest = backlog.oldest
    return Lag(backlog.entries, max(0.0, time.time() - oldest) if oldest is not None else 0.0)


def open_points(applier: Applier) -> list[str]:
    """Why the shadow is not known to equal the primary; drains first, empty when it is."""
    control = applier.stores.postgres.read_control()
    if control.phase != Phase.REPLICATING:
        return [f"the pair is in phase {control.phase}"]
    applier.drain()
    connection = applier.stores.postgres.connection
    points: list[str] = []
    verify = last_verify(connection)
    if verify is None or verify.finished_at is None:
        points.append("there is no finished verify: run st-migrate verify")
    elif not verify.clean:
        points.append(f"the last verify found {verify.mismatches} mismatches: run st-migrate verify --repair")
    elif verify.epoch != control.epoch:
        points.append(f"the last verify belongs to epoch {verify.epoch}: run st-migrate verify")
    _, unaccepted = quarantined(connection)
    if unaccepted:
        points.append(f"{unaccepted} rows are in quarantine: see st-migrate quarantine list")
    return points
