"""Phases of the move, which of them follow each other, and the history that every event goes to."""

from __future__ import annotations

import json
import os
import pwd
import socket
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import psycopg


class Phase(StrEnum):
    """Where the pair stands; kept in PostgreSQL's control row, see `control.advance`."""

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


def os_user() -> str:
    """The user that this process runs as, by the operating system and not by its environment."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def actor() -> str:
    """Who is doing this: user, host and process, for the history and for refusals."""
    return f"{os_user()}@{socket.gethostname()}/{os.getpid()}"


def record(
    connection: psycopg.Connection[Any], event: str, epoch: int, evidence: Mapping[str, object]
) -> None:
    """Write one line of history, in the caller's transaction."""
    connection.execute(
        "INSERT INTO st_history (at, actor, event, epoch, evidence) VALUES (%s, %s, %s, %s, %s)",
        (time.time(), actor(), event, epoch, json.dumps(evidence, default=str)),
    )
