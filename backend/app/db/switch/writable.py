"""At most one side takes application writes: whether that is so, and what was written where it should not.

No step of the protocol leaves two writable sides, so whoever finds them has found a fault, a hand that changed a
control row, or a PostgreSQL that came back after a forced rollback. The way out: the side that is not primary
is fenced (`recover`), its rows stay as they are, and the operator decides about those that strangers wrote there.
They are known by name: apply is not logged on the shadow, so an entry in the shadow's log beyond what the primary
has applied of it was made by somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.db.apply.round import Applier
from app.db.common.urls import Side
from app.db.sides.capture.triggers import WRITER_LOCK
from app.db.sides.contract import RawKey
from app.db.sides.phase import record
from app.db.sides.postgres.source import PostgresSource
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.store import SqliteStore

SHOWN = 20  # keys in a message or in the history


@dataclass(frozen=True)
class Strangers:
    """Rows that somebody wrote on the shadow: log numbers there, and keys by table; None is the whole table."""

    side: Side
    numbers: tuple[int, ...]
    keys: Mapping[str, tuple[RawKey, ...]]

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def names(self) -> list[str]:
        """Each row as `table key`."""
        return [f"{table} {'*' if key is None else key}" for table, keys in self.keys.items() for key in keys]

    def __str__(self) -> str:
        names = self.names()
        more = " ..." if len(names) > SHOWN else ""
        return f"{len(names)} rows were written on {self.side} while it was the shadow: {', '.join(names[:SHOWN])}{more}"


def writable_sides(sqlite: SqliteStore, postgres: PostgresStore) -> tuple[Side, ...]:
    """The sides that take application writes now; read only, and never two because of a switch under way.

    Raises:
        NotPrepared: a side carries no control row.
        ShadowUnavailable, psycopg.OperationalError: PostgreSQL cannot be asked.
    """
    before = _postgres(postgres)
    ours = sqlite.connection.execute(
        "SELECT writable = 1 OR (applying <> 0 AND primary_side <> 'sqlite') FROM st_control WHERE id = 1"
    ).fetchone()
    open_sides = [Side.SQLITE] if ours and ours[0] else []
    if before[0] and (not open_sides or _postgres(postgres) == before):
        open_sides.append(Side.POSTGRES)
    return tuple(open_sides)


def _postgres(postgres: PostgresStore) -> tuple[bool, int]:
    control = postgres.read_control()
    return control.writable, control.epoch


def strangers(applier: Applier) -> Strangers:
    """What the shadow's log holds that no applier and no switch accounts for; read only."""
    primary, shadow = applier.directions()
    position = primary.read_position()
    if isinstance(shadow, SqliteStore):
        rows = shadow.connection.execute(
            "SELECT seq, tbl, k FROM st_change_log WHERE seq > ? ORDER BY seq", (int(position),)
        ).fetchall()
    else:
        rows = shadow.connection.execute(
            f"SELECT seq, tbl, k FROM st_change_log WHERE {PostgresSource.NEW} ORDER BY seq".encode(),
            PostgresSource.parameters(position),
        ).fetchall()
    keys: dict[str, dict[RawKey, None]] = {}
    for _, table, key in rows:
        keys.setdefault(table, {})[key] = None
    return Strangers(
        shadow.side, tuple(row[0] for row in rows), {table: tuple(found) for table, found in keys.items()}
    )


def fence_second(applier: Applier) -> Strangers | None:
    """Fence the side that is not primary, if both take writes; guarded by the epoch, repeated without harm.

    Returns:
        What was written there until the fence stood; None if there was nothing to fence.
    """
    if len(writable_sides(applier.sqlite, applier.postgres)) < len(Side):
        return None
    arbiter = applier.postgres.read_control()
    if arbiter.attempt is not None:
        return None
    if arbiter.primary is Side.POSTGRES:
        fenced = applier.sqlite.connection.execute(
            "UPDATE st_control SET writable = 0, applying = 0 WHERE id = 1 AND epoch = ? AND attempt IS NULL",
            (arbiter.epoch,),
        ).rowcount
    else:
        with applier.postgres.write() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", WRITER_LOCK)
            fenced = connection.execute(
                "UPDATE st_control SET writable = false WHERE id = 1 AND epoch = %s "
                "AND primary_side = 'sqlite' AND attempt IS NULL",
                (arbiter.epoch,),
            ).rowcount
    if not fenced:
        return None
    found = strangers(applier)
    evidence: dict[str, Any] = {
        "side": str(found.side),
        "rows": len(found.names()),
        "first": found.names()[:SHOWN],
    }
    with applier.postgres.write() as connection:
        record(connection, "second side fenced", arbiter.epoch, evidence)
    return found


def forget(applier: Applier, found: Strangers, why: str) -> None:
    """Take rows off the list: the operator has decided, or the sides were found equal."""
    if not found:
        return
    if found.side is Side.SQLITE:
        with applier.sqlite.write() as ours:
            ours.executemany("DELETE FROM st_change_log WHERE seq = ?", [(n,) for n in found.numbers])
    with applier.postgres.write() as theirs:
        if found.side is Side.POSTGRES:
            theirs.execute("DELETE FROM st_change_log WHERE seq = ANY(%s)", (list(found.numbers),))
        epoch = applier.postgres.read_control().epoch
        evidence = {"why": why, "side": str(found.side), "rows": found.names()}
        record(theirs, "strangers' rows decided", epoch, evidence)
