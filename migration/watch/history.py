"""The history that PostgreSQL keeps of the move: who did what, when, with what evidence."""

from __future__ import annotations

import json
from typing import Any

from app.db.sides.postgres.store import PostgresStore


def last_events(postgres: PostgresStore, limit: int) -> list[dict[str, Any]]:
    """The newest events, oldest first.

    Raises:
        NotPrepared: the database has no history.
    """
    postgres.read_control()
    rows = postgres.connection.execute(
        "SELECT at, actor, event, epoch, evidence FROM st_history ORDER BY id DESC LIMIT %s", (limit,)
    ).fetchall()
    return [
        {"at": at, "actor": actor, "event": event, "epoch": epoch, "evidence": json.loads(evidence)}
        for at, actor, event, epoch, evidence in reversed(rows)
    ]
