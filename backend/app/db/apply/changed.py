"""The keys that changed since the last verify, compared exactly while both sides go on living.

`comparable` says which of them may be compared at an instant. The others are left to the next call. Inside
the fence nothing is beyond the watermark, so the last call settles all of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial

from app.db.apply.comparable import Instant, instant
from app.db.apply.compare import Mismatch, compare_rows
from app.db.apply.round import Applier
from app.db.common.errors import SchemaDrift, StaleAttempt
from app.db.common.urls import Side
from app.db.rows.catalog import Row, Table
from app.db.rows.keys import RawKey, identity, known, logged, may_coincide
from app.db.sides.contract import Source
from app.db.sides.stores import Stores

_STEP = 200  # keys for which the applier is held out at a time: commits wait for it in sync mode
_BREATH_S = 0.002  # and how long it is let in between


@dataclass
class _Sweep:
    """One call's work: the position it covers, what is left to compare, whether a table has to wait."""

    upto: str | None = None
    left: list[tuple[Table, list[RawKey]]] = field(default_factory=list)
    postponed: bool = False


class ChangedKeys:
    """Checks the keys changed since the last verify, in steps.

    Args:
        applier: the pair.
        give_up_at: the moment of `time.monotonic` from which nothing more is compared; None: no limit.

    `checked` counts the keys compared so far.
    """

    def __init__(self, applier: Applier, give_up_at: float | None = None) -> None:
        self._applier = applier
        self._give_up_at = give_up_at
        postgres = applier.stores.postgres
        self._epoch = postgres.read_control().epoch
        row = postgres.connection.execute("SELECT position FROM st_verify WHERE id = 1").fetchone()
        self._since: str = row[0] if row else "0"
        self.checked = 0

    def check_rest(self) -> list[Mismatch]:
        """Compare every key that changed since the last call and has been applied.

        A key that changes while this goes on is left to the next call, because its change is beyond the
        position where this call began.

        Raises:
            StaleAttempt: the sides were switched since this was made, so its position means nothing now.
            TimeoutError: the limit was reached; writers change more than can be compared.
        """
        sweep, found = _Sweep(), list[Mismatch]()
        while sweep.upto is None or sweep.left:
            if self._give_up_at is not None and time.monotonic() > self._give_up_at:
                left = sum(len(keys) for _, keys in sweep.left)
                raise TimeoutError(
                    f"time ran out while changed keys were compared: {self.checked} done, {left} known to be left"
                )
            if sweep.upto is not None:
                time.sleep(_BREATH_S)
            with instant(self._applier.stores) as now:
                found += self._check(sweep, now)
        if not sweep.postponed:
            self._since = sweep.upto
        return found

    def _check(self, sweep: _Sweep, now: Instant) -> list[Mismatch]:
        if now.primary.control.epoch != self._epoch:
            raise StaleAttempt("the sides were switched meanwhile", hint="see st-migrate status")
        if sweep.upto is None:
            sweep.upto, sweep.left = now.target.position, self._changed(now.primary)
        found: list[Mismatch] = []
        done = 0
        while sweep.left and done < _STEP:
            table, keys = sweep.left.pop()
            moving = now.moving(table, [identity(table, raw) for raw in keys], partial(identity, table))
            if moving is None:
                sweep.postponed = True
                continue
            still = [raw for raw in keys if identity(table, raw) not in moving]
            found += self.compare(table, still, now.primary, now.shadow)
            done += len(keys)
        return found

    def _changed(self, primary: Source) -> list[tuple[Table, list[RawKey]]]:
        """The keys changed since the last call, in portions of one table."""
        schema = self._applier.schema()
        portions = []
        for name in primary.logged_tables(self._since):
            if name not in schema:
                raise SchemaDrift(
                    f"the log names table {name}, which the sides do not share any more",
                    hint="run st-migrate verify",
                )
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
        if found and may_coincide(table):  # SQLite may spell a key as nobody expects
            doubtful = [logged(table, item.key) for item in found if known(table, item.key_text())]
            found = [item for item in found if not known(table, item.key_text())]
            ours = primary.rows_of(table, doubtful, thorough=True)
            found += compare_sides(table, ours, shadow.rows_of(table, doubtful, thorough=True), primary)
        return without_quarantined(self._applier.stores, found) if found else []


def compare_sides(table: Table, primary: list[Row], shadow: list[Row], source: Source) -> list[Mismatch]:
    """Compare rows of primary and shadow; the mismatches are told from SQLite's point of view."""
    if source.control.primary is Side.SQLITE:
        return compare_rows(table, primary, shadow)
    return compare_rows(table, shadow, primary)


def without_quarantined(stores: Stores, found: list[Mismatch]) -> list[Mismatch]:
    """Mismatches that are not explained by a quarantined row."""
    held = {
        (table, key)
        for table, key in stores.postgres.connection.execute("SELECT tbl, k FROM st_quarantine").fetchall()
    }
    return [item for item in found if (item.table, item.key_text()) not in held]
