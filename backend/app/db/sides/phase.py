"""Phases of the move, and the one guarded statement that goes from one to the next."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import psycopg

from app.db.common.errors import StaleAttempt


class Phase(StrEnum):
    """Where the pair stands; kept in PostgreSQL's control row."""

    PREPARING = "preparing"  # PostgreSQL is claimed and being built; leave by `prepare`
    COPYING = "copying"  # capture is on, rows are being copied; leave by `backfill`
    REPLICATING = "replicating"  # both sides hold everything; `cutover` and `rollback` live here
    COMPLETING = "completing"  # capture is being removed; leave by the same `complete` or `abort` again


TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    Phase.PREPARING: frozenset({Phase.COPYING, Phase.COMPLETING}),
    Phase.COPYING: frozenset({Phase.REPLICATING, Phase.COMPLETING}),
    Phase.REPLICATING: frozenset({Phase.COMPLETING}),
    Phase.COMPLETING: frozenset(),
}
APPLYING_PHASES = frozenset({Phase.COPYING, Phase.REPLICATING})


def actor() -> str:
    """Who is doing this: host and process, for the history and for refusals."""
    return f"{socket.gethostname()}/{os.getpid()}"


def advance(connection: psycopg.Connection[Any], frm: Phase, to: Phase, epoch: int) -> None:
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


def record(
    connection: psycopg.Connection[Any], event: str, epoch: int, evidence: Mapping[str, object]
) -> None:
    """Write one line of history, in the caller's transaction."""
    connection.execute(
        "INSERT INTO st_history (at, actor, event, epoch, evidence) VALUES (%s, %s, %s, %s, %s)",
        (time.time(), actor(), event, epoch, json.dumps(evidence, default=str)),
    )
