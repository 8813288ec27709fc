"""Trimming the change log: never beyond what is durable on the shadow and checked by the last verify."""

from __future__ import annotations

import time

from app.db.common.urls import Side
from app.db.sides.phase import Phase, record
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.stores import Stores

EVERY_S = 5.0
STEP = 2_000  # entries per statement: the write lock is held for milliseconds
RETAIN = 1_000_000  # entries kept for the cutover's check; beyond it a new verify is asked for instead


class Trimmer:
    """Deletes log entries that nobody needs any more, now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + EVERY_S

    def trim_if_due(self, stores: Stores) -> int:
        """Trim if it is time. Returns how many entries went."""
        if time.monotonic() < self._next:
            return 0
        self._next = time.monotonic() + EVERY_S
        gone = trim(stores)
        if gone == STEP:
            self._next = time.monotonic()
        return gone


def trim(stores: Stores) -> int:
    """Delete up to STEP entries from the primary's log. Returns how many went."""
    control, followed = stores.postgres.read_control(), stores.sqlite.read_control()
    if control.phase != Phase.REPLICATING or control.epoch != followed.epoch:
        return 0  # between a commit record and SQLite's following it, positions are of either kind
    primary, shadow = stores.store(control.primary), stores.store(control.primary.other)
    durable = _durable_position(stores.postgres) if shadow.side is Side.POSTGRES else shadow.read_position()
    verified = stores.postgres.connection.execute(
        "SELECT position FROM st_verify WHERE id = 1 AND epoch = %s", (control.epoch,)
    ).fetchone()
    if verified is not None:
        if gone := primary.trim((verified[0], durable), STEP):
            return gone
        if primary.log_size(RETAIN + 1) <= RETAIN:
            return 0
        with stores.postgres.write() as connection:
            connection.execute("DELETE FROM st_verify")
            record(connection, "verify outdated", control.epoch, {"log_entries": RETAIN})
    return primary.trim((durable,), STEP)


def _durable_position(postgres: PostgresStore) -> str:
    """The watermark, once it is on PostgreSQL's disk: a synchronous commit flushes all that went before."""
    with postgres.write() as connection:
        connection.execute("SET LOCAL synchronous_commit = on")
        row = connection.execute(
            "UPDATE st_watermark SET applied_at = applied_at WHERE id = 1 RETURNING position"
        ).fetchone()
    return str(row[0]) if row else "0"
