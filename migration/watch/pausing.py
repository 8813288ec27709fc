"""Pause and resume: every applier and backfill looks at the control rows, wherever it runs."""

from __future__ import annotations

from app.db.apply.round import Applier


def set_paused(applier: Applier, paused: bool) -> bool:
    """Set the mark on both sides, PostgreSQL's first because appliers of the cutover's direction read it.

    Returns:
        Whether anything had to be changed.

    Raises:
        NotPrepared: a side carries no control row.
    """
    before = applier.postgres.read_control().paused, applier.sqlite.read_control().paused
    if before == (paused, paused):
        return False
    with applier.postgres.write() as postgres:
        postgres.execute("UPDATE st_control SET paused = %s WHERE id = 1", (paused,))
    with applier.sqlite.write() as sqlite:
        sqlite.execute("UPDATE st_control SET paused = ? WHERE id = 1", (paused,))
    return True
