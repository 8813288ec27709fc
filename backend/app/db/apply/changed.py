"""The keys that changed since the last verify, compared exactly while both sides go on living.

With the applier held out (its lock on the shadow is ours) and one read transaction on the primary, the
shadow equals the primary at the watermark. So every key that changed since the verify and not since the
watermark must be equal now, without false alarms; the others are left to the next call. Inside the fence
nothing is beyond the watermark, so the last call settles all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from app.db.apply.round import Applier
from app.db.common.errors import StaleAttempt
from app.db.common.urls import Side
from app.db.rows.catalog import Row, Table
from app.db.rows.compare import Mismatch, compare_rows
from app.db.rows.keys import RawKey
from app.db.sides.contract import Source

_STEP = 200  # keys for which the applier is held out at a time: commits wait for it in sync mode
_BREATH_S = 0.002  # and how long it is let in between
T = TypeVar("T")


@dataclass
class _Sweep:
    """One call's work: the position it covers, what is left to compare, whether a table has to wait."""

    upto: str | None = None
    left: list[tuple[Table, list[RawKey]]] = field(default_factory=list)
    postponed: bool = False


class DirtyKeys:
    """Checks the keys changed since the last verify, in steps.

    Args:
        applier: the pair.

    `checked` counts the keys compared so far.
    """

    def __init__(self, applier: Applier) -> None:
        self._applier = applier
        self._epoch = applier.postgres.read_control().epoch
        row = applier.postgres.connection.execute("SELECT position FROM st_verify WHERE id = 1").fetchone()
        self._since: str = row[0] if row else "0"
        self.checked = 0

    def check_rest(self) -> list[Mismatch]:
        """Compare every key that changed since the last call and has been applied.

        A key that changes while this goes on is left to the next call, as it is beyond the position at
        which this one began.

        Raises:
            StaleAttempt: the sides were switched since this was made, so its position means nothing now.
        """
        sweep, found = _Sweep(), list[Mismatch]()
        while sweep.upto is None or sweep.left:
            if sweep.upto is not None:
                time.sleep(_BREATH_S)
            found += with_shadow_held(self._applier, partial(self._check, sweep))
        if not sweep.postponed:
            self._since = sweep.upto
        return found

    def _check(self, sweep: _Sweep, primary: Source, shadow: Source, position: str) -> list[Mismatch]:
        if primary.control.epoch != self._epoch:
            raise StaleAttempt("the sides were switched meanwhile", hint="see st-migrate status")
        if sweep.upto is None:
            sweep.upto, sweep.left = position, self._changed(primary)
        announced = shadow.announced_keys()
        found: list[Mismatch] = []
        done = 0
        while sweep.left and done < _STEP:
            table, keys = sweep.left.pop()
            later = [key for part in primary.changed_keys(table, position) for key in part]
            if None in later:
                sweep.postponed = True
                continue
            unsettled = {*map(str, later), *announced.get(table.name, ())}
            settled = [key for key in keys if str(key) not in unsettled]
            found += self.compare(table, settled, primary, shadow)
            done += len(keys)
        return found

    def _changed(self, primary: Source) -> list[tuple[Table, list[RawKey]]]:
        """The keys changed since the last call, in portions of one table."""
        schema = self._applier.schema()
        portions = []
        for name in primary.backlog(self._since).counts:
            # Read to the end before anything else is asked: a connection to PostgreSQL streams one query.
            keys = [
                k for part in primary.changed_keys(schema[name], self._since) for k in part if k is not None
            ]
            portions += [(schema[name], keys[n : n + _STEP]) for n in range(0, max(1, len(keys)), _STEP)]
        return portions

    def compare(self, table: Table, keys: list[RawKey], primary: Source, shadow: Source) -> list[Mismatch]:
        """Compare some keys of one table, quarantined rows left out."""
        self.checked += len(keys)
        found = compare_sides(table, primary.rows_of(table, keys), shadow.rows_of(table, keys), primary)
        return without_quarantined(self._applier, found) if found else []


def with_shadow_held(applier: Applier, check: Callable[[Source, Source, str], T]) -> T:
    """Call `check(primary, shadow, watermark)` while no round of apply can take place."""
    primary, shadow = applier.directions()
    with shadow.target() as target, primary.source() as source:
        return check(source, shadow.reader(), target.position)


def compare_sides(table: Table, primary: list[Row], shadow: list[Row], source: Source) -> list[Mismatch]:
    """Compare rows of primary and shadow; the mismatches are told from SQLite's point of view."""
    if source.control.primary is Side.SQLITE:
        return compare_rows(table, primary, shadow)
    return compare_rows(table, shadow, primary)


def without_quarantined(applier: Applier, found: list[Mismatch]) -> list[Mismatch]:
    """Mismatches that are not explained by a quarantined row."""
    held = {
        (table, key)
        for table, key in applier.postgres.connection.execute("SELECT tbl, k FROM st_quarantine").fetchall()
    }
    return [item for item in found if (item.table, item.key_text()) not in held]
