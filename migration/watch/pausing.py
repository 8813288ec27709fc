"""Pause and resume: every applier and backfill looks at the control rows, wherever it runs."""

from __future__ import annotations

from app.db.apply.round import Applier
from app.db.sides.control import pause_postgres, pause_sqlite


def set_paused(applier: Applier, paused: bool) -> bool:
    """Set the mark on both sides, PostgreSQL's first because appliers of the cutover's direction read it.

    Returns:
        Whether anything had to be changed.

    Raises:
        NotPrepared: a side carries no control row.
    """
    theirs, ours = applier.postgres.read_control(), applier.sqlite.read_control()
    if theirs.paused == ours.paused == paused:
        return False
    with applier.postgres.write() as postgres:
        pause_postgres(postgres, theirs.pair, paused)
    with applier.sqlite.write() as sqlite:
        pause_sqlite(sqlite, ours.pair, paused)
    return True
