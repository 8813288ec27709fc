"""At most one side takes application writes: whether that is so, and what was written where it should not.

No step of the protocol leaves two writable sides. So the cause is a fault, a hand that changed a control row,
or a PostgreSQL that came back after a forced rollback. The way out: `recover` fences the side that is not
primary, and its rows stay as they are. The operator decides about the rows that strangers wrote there. Such
rows are known by name. Apply is not logged on the shadow. So somebody else made an entry in the shadow's log
beyond what the primary has applied of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.db.common.errors import counted
from app.db.common.urls import Side
from app.db.rows.keys import RawKey
from app.db.sides.control import fence_second_postgres, fence_second_sqlite, sqlite_is_open
from app.db.sides.locks import hold_writers
from app.db.sides.phase import record
from app.db.sides.postgres.source import PostgresSource
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.stores import Stores

SHOWN = 20  # keys in a message or in the history


@dataclass(frozen=True)
class Strangers:
    """Rows that somebody wrote on the shadow: log numbers there, and keys by table. None is the whole table."""

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
        rows = counted(len(names), "row was", "rows were")
        return f"{rows} written on {self.side} while it was the shadow: {', '.join(names[:SHOWN])}{more}"


def writable_sides(stores: Stores) -> tuple[Side, ...]:
    """The sides that take application writes now; read only, and never two because of a switch under way.

    Raises:
        NotPrepared: a side carries no control row.
        ShadowUnavailable, psycopg.OperationalError: PostgreSQL cannot be asked.
    """
    before = _postgres(stores.postgres)
    open_sides = [Side.SQLITE] if sqlite_is_open(stores.sqlite.connection) else []
    if before[0] and (not open_sides or _postgres(stores.postgres) == before):
        open_sides.append(Side.POSTGRES)
    return tuple(open_sides)


def _postgres(postgres: PostgresStore) -> tuple[bool, int]:
    control = postgres.read_control()
    return control.writable, control.epoch


def strangers(stores: Stores) -> Strangers:
    """What the shadow's log holds that no applier and no switch accounts for; read only."""
    primary, shadow = stores.directions()
    position = primary.read_position()
    if shadow.side is Side.SQLITE:
        rows = stores.sqlite.connection.execute(
            "SELECT seq, tbl, k FROM st_change_log WHERE seq > ? ORDER BY seq", (int(position),)
        ).fetchall()
    else:
        rows = stores.postgres.connection.execute(
            f"SELECT seq, tbl, k FROM st_change_log WHERE {PostgresSource.NEW} ORDER BY seq".encode(),
            PostgresSource.parameters(position),
        ).fetchall()
    keys: dict[str, dict[RawKey, None]] = {}
    for _, table, key in rows:
        keys.setdefault(table, {})[key] = None
    return Strangers(
        shadow.side, tuple(row[0] for row in rows), {table: tuple(found) for table, found in keys.items()}
    )


def fence_second(stores: Stores) -> Strangers | None:
    """Fence the side that is not primary, if both take writes; guarded by the epoch, repeated without harm.

    Returns:
        What was written there until the fence stood. None if there was nothing to fence.
    """
    if len(writable_sides(stores)) < len(Side):
        return None
    arbiter = stores.postgres.read_control()
    if arbiter.attempt is not None:
        return None
    if arbiter.primary is Side.POSTGRES:
        fenced = fence_second_sqlite(stores.sqlite.connection, arbiter.epoch)
    else:
        with stores.postgres.write() as connection:
            hold_writers(connection)
            fenced = fence_second_postgres(connection, arbiter.epoch)
    if not fenced:
        return None
    found = strangers(stores)
    evidence: dict[str, Any] = {
        "side": str(found.side),
        "rows": len(found.names()),
        "first": found.names()[:SHOWN],
    }
    with stores.postgres.write() as connection:
        record(connection, "second side fenced", arbiter.epoch, evidence)
    return found


def forget(stores: Stores, found: Strangers, why: str) -> None:
    """Take rows off the list: the operator has decided, or the sides were found equal."""
    if not found:
        return
    if found.side is Side.SQLITE:
        with stores.sqlite.write() as ours:
            ours.executemany("DELETE FROM st_change_log WHERE seq = ?", [(n,) for n in found.numbers])
    with stores.postgres.write() as theirs:
        if found.side is Side.POSTGRES:
            theirs.execute("DELETE FROM st_change_log WHERE seq = ANY(%s)", (list(found.numbers),))
        epoch = stores.postgres.read_control().epoch
        evidence = {"why": why, "side": str(found.side), "rows": found.names()}
        record(theirs, "strangers' rows decided", epoch, evidence)
