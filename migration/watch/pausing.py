"""Pause and resume: every applier and backfill looks at the control rows, wherever it runs."""

from __future__ import annotations

from app.db.sides.control import pause_postgres, pause_sqlite
from app.db.sides.stores import Stores


def set_paused(stores: Stores, paused: bool) -> bool:
    """Set the mark on both sides, PostgreSQL's first because appliers of the cutover's direction read it.

    Returns:
        Whether anything had to be changed.

    Raises:
        NotPrepared: a side carries no control row.
    """
    theirs, ours = stores.postgres.read_control(), stores.sqlite.read_control()
    if theirs.paused == ours.paused == paused:
        return False
    with stores.postgres.write() as postgres:
        pause_postgres(postgres, theirs.pair, paused)
    with stores.sqlite.write() as sqlite:
        pause_sqlite(sqlite, ours.pair, paused)
    return True
