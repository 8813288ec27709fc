"""Switches that somebody was told of before the fence, and of whose end nobody has told yet.

The process that makes a switch tells of its end. That process may die between. So it notes in the history that it
told of the beginning, and later that it told of the end. Another process that finds the first note without the
second tells in its place. A process tells before it notes the end, so that no end is lost. Who takes over notes
first, so that no two take over. A pair whose switches tell nobody has no such notes.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from app.db.common.errors import SwitchError
from app.db.common.urls import Side
from app.db.sides.control import postgres_control
from app.db.sides.phase import record
from app.db.sides.stores import Stores

GRACE_S = 300.0  # for a process elsewhere that may still live: it stops and starts an application, and tells
DIED = "its coordinator died"  # the reason by which another process ends an attempt
_BEGUN = "before-fence told"
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Untold:
    """The end of a switch to a side, from an epoch on. `by` began it, as user, host and process."""

    to: Side
    epoch: int
    promoted: bool
    by: str


def note_begun(stores: Stores, token: str, to: Side, epoch: int, within_s: float) -> None:
    """Note that somebody is told of a beginning. `within_s`: seconds that the switch may take.

    Raises:
        ShadowUnavailable, psycopg.Error: PostgreSQL does not take it.
    """
    until = time.time() + within_s + GRACE_S
    with stores.postgres.write() as connection:
        told = {"telling": token, "to": to, "until": until, "pid": os.getpid(), "home": _home()}
        record(connection, _BEGUN, epoch, told)


def note_told(stores: Stores, token: str, moment: str) -> None:
    """Note that the end was told; where that fails, another process tells again."""
    with suppress(SwitchError, psycopg.Error), stores.postgres.write() as connection:
        _note_end(connection, token, moment, postgres_control(connection).epoch)


def was_told(stores: Stores, token: str, moment: str) -> bool:
    """Whether another process has told of just this end."""
    with suppress(SwitchError, psycopg.Error):
        return moment in _ends(stores.postgres.connection, token)
    return False


def take_over(stores: Stores) -> Untold | None:
    """The end that this process has to tell of now, noted as told; None where there is none.

    Raises:
        ShadowUnavailable, psycopg.Error: PostgreSQL cannot be asked.
    """
    if _found(stores.postgres.connection) is None:
        return None
    with stores.postgres.write() as connection:
        postgres_control(connection, lock=True)  # of several that look one takes over
        if (found := _found(connection)) is None:
            return None
        token, untold = found
        _note_end(connection, token, "after-promote" if untold.promoted else "on-abort", untold.epoch)
    return untold


def _found(connection: Connection) -> tuple[str, Untold] | None:
    begun = connection.execute(
        "SELECT id, actor, epoch, evidence FROM st_history WHERE event = %s ORDER BY id DESC LIMIT 1",
        (_BEGUN,),
    ).fetchone()
    if begun is None:
        return None
    number, by, epoch, evidence = begun
    told = json.loads(evidence)
    token, to = str(told["telling"]), Side(told["to"])
    if _ends(connection, token) or postgres_control(connection).attempt is not None:
        return None
    promoted = _at(connection, "epoch = %s AND event = %s", epoch + 1, f"primary {to}")
    died = _at(connection, "id > %s AND event = 'attempt ended' AND strpos(evidence, %s) > 0", number, DIED)
    until = promoted + GRACE_S if promoted else float(told["until"])
    if time.time() < until and not _is_gone(told) and not (died and not promoted):
        return None
    return token, Untold(to, epoch, promoted is not None, by)


def _at(connection: Connection, which: str, *values: object) -> float | None:
    row = connection.execute(f"SELECT at FROM st_history WHERE {which} LIMIT 1".encode(), values).fetchone()
    return None if row is None else float(row[0])


def _ends(connection: Connection, token: str) -> list[str]:
    rows = connection.execute(
        "SELECT event FROM st_history WHERE strpos(evidence, %s) > 0 AND event <> %s", (token, _BEGUN)
    ).fetchall()
    return [event.removesuffix(" told") for (event,) in rows]


def _note_end(connection: Connection, token: str, moment: str, epoch: int) -> None:
    record(connection, f"{moment} told", epoch, {"telling": token})


def _home() -> str:
    """Where the number of this process means something: this boot of the machine, this container. Empty: unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_gone(told: dict[str, Any]) -> bool:
    """Whether the process that noted a beginning does not run any more; of one elsewhere nothing is known."""
    if not _home() or told["home"] != _home():
        return False
    try:
        os.kill(int(told["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
