"""A small round in one round trip: read the primary first, then find out whether that was allowed.

An ordinary round takes the shadow's lock before it reads the primary, so it asks PostgreSQL twice and commits
with a third message. A small round goes from SQLite to PostgreSQL. It begins where its own applier left the
shadow, or where another one of this host said so (`sides/sqlite/bulletin.py`). It reads the primary from that
watermark on and sends everything at once, as one implicit transaction. The first statement takes the same
lock and compares the watermark, the pair and the epoch with what the reading began from. If they are the
same, no other round came between, and the result is that of an ordinary round. If not, nothing is written and
an ordinary round follows. Positions only grow, so a watermark that reads the same is the same.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psycopg
from psycopg import errors as pg_errors

from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Side
from app.db.rows.catalog import Schema
from app.db.rows.keys import RawKey, findable
from app.db.sides.capture.triggers import OVERTAKEN_SQLSTATE
from app.db.sides.contract import mark_of
from app.db.sides.postgres.connection import all_or_nothing, give_up
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.bulletin import Bulletin
from app.db.sides.sqlite.source import Entry
from app.db.sides.sqlite.spellings import unforeseen
from app.db.sides.sqlite.store import SqliteStore

# How long ordinary rounds are taken after a small one was overtaken, in seconds, at least and at most. Each time
# doubles it, each small round that succeeds halves it.
UNDISTURBED_S = (0.25, 60.0)
SMALL = 2_500  # log entries at most: a full group of webhook deliveries makes up to 2,000
_POSITION = re.compile(r"[0-9]{1,18}")
_RESUME = b"SELECT st_resume_round(%s, %s, %s)"


@dataclass(frozen=True)
class ResumePoint:
    """Where a round left the shadow, and on which record of the pair."""

    position: str
    pair: str
    epoch: int
    mark: str | None = None
    marks: bool = False  # whether this pair keeps marks
    heard: bool = False  # from another process, which may have been mistaken

    def later(self, told: dict[str, object] | None) -> ResumePoint:
        """Where the shadow is by what another process has told (`told` of its point), or this point."""
        if told is None or told.get("pair") != self.pair or told.get("epoch") != self.epoch:
            return self
        position, mark = told.get("position"), told.get("mark")
        if not isinstance(position, str) or not _POSITION.fullmatch(position):
            return self
        if int(position) <= int(self.position):
            return self
        if self.marks and not isinstance(mark, str):
            return self
        return replace(self, position=position, mark=mark if isinstance(mark, str) else None, heard=True)

    def told(self) -> dict[str, object]:
        """What other processes have to know of it."""
        return {"pair": self.pair, "epoch": self.epoch, "position": self.position, "mark": self.mark}


class Beginning:
    """Where an applier's next small round begins, and whether one is likely to succeed.

    Args:
        bulletin: by which the processes of a host tell each other.
    """

    def __init__(self, bulletin: Bulletin) -> None:
        self._bulletin = bulletin
        self._point: ResumePoint | None = None
        self._overtaken_at = time.monotonic()
        self._undisturbed_s = UNDISTURBED_S[0]

    def take(self) -> ResumePoint | None:
        """Where to begin, as this applier or another of the host left the shadow. None: ask the shadow first."""
        point, self._point = self._point, None
        return point and point.later(self._bulletin.read())

    def keep(self, point: ResumePoint) -> None:
        """A round has left the shadow there, and a small one may follow."""
        self._bulletin.tell(point.told())
        if time.monotonic() - self._overtaken_at > self._undisturbed_s:
            self._point = point

    def forget(self) -> None:
        """Ask the shadow next."""
        self._point = None

    def succeeded(self) -> None:
        """A small round took place."""
        self._undisturbed_s = max(self._undisturbed_s / 2, UNDISTURBED_S[0])

    def overtaken(self) -> None:
        """A small round was refused: the shadow was somewhere else."""
        self._overtaken_at = time.monotonic()
        self._undisturbed_s = min(2 * self._undisturbed_s, UNDISTURBED_S[1])


@dataclass(frozen=True)
class SmallRound:
    """What a small round carried: log entries, rows refused, the new watermark, time of the oldest entry, the mark."""

    changes: int
    refused: int
    position: str
    oldest: float | None
    mark: str | None = None


def small_round(
    sqlite: SqliteStore, postgres: PostgresStore, schema: Callable[[], Schema], begin: ResumePoint
) -> SmallRound | None:
    """Apply what SQLite has logged since a resume point, if that is little and the shadow still is there.

    Returns:
        None if an ordinary round has to look. Nothing was applied then.

    Raises:
        psycopg.Error, sqlite3.Error: as an ordinary round. Nothing was applied, or it was and only the
            acknowledgement is missing.
    """
    tables = schema()
    with sqlite.source() as source:
        if source.control.primary is not Side.SQLITE or source.control.epoch != begin.epoch:
            return None
        source.require_mark(begin.mark)
        entries = source.entries(begin.position, SMALL + 1)
        position = source.log_end()
        if not entries:
            return SmallRound(0, 0, begin.position, None, begin.mark) if position == begin.position else None
        keys = _by_table(entries, tables)
        if len(entries) > SMALL or keys is None or int(position) < entries[-1].seq:
            return None
        rows = {
            name: [row for part in source.changed_rows(tables[name], begin.position) for row in part]
            for name in keys
        }
    failpoint(Failpoint.APPLY_READ)
    connection = postgres.connection
    refused = 0
    mark = mark_of(entries[-1].seq, entries[-1].at)
    target = postgres.writer(source.control, position=begin.position)
    target.marks = begin.marks
    try:
        with all_or_nothing(connection):
            postgres.begin()
            connection.execute(_RESUME, (begin.position, begin.pair, begin.epoch))
            for name in sorted(keys):
                refused += target.replace(tables[name], keys[name], rows[name])
            target.advance(position, len(entries), mark)
            failpoint(Failpoint.APPLY_BEFORE_COMMIT)
    except psycopg.DatabaseError as error:
        give_up(connection)
        if error.sqlstate == OVERTAKEN_SQLSTATE or isinstance(error, pg_errors.UndefinedFunction):
            return None  # or the pair was prepared by an older version
        raise
    failpoint(Failpoint.APPLY_AFTER_COMMIT)
    return SmallRound(len(entries), refused, position, min(entry.at for entry in entries), mark)


def _by_table(entries: list[Entry], tables: Schema) -> dict[str, list[RawKey]] | None:
    """Each table's distinct keys. None if one is unknown, cannot be looked up or is spelt as never before."""
    keys: dict[str, dict[RawKey, None]] = {}
    for entry in entries:
        table = tables.get(entry.table)
        key = None if table is None else findable(table, entry.key)
        if table is None or key is None:
            return None
        keys.setdefault(entry.table, {})[key] = None
    if any(unforeseen(tables[name], of_table) for name, of_table in keys.items()):
        return None
    return {name: list(of_table) for name, of_table in keys.items()}


def age(oldest: float | None) -> float:
    """Seconds since a log entry was made. 0 if there was none."""
    return max(0.0, time.time() - oldest) if oldest else 0.0
