"""Whether suspected keys really differ, and whether both sides have as many rows, decided at one instant.

`app.db.apply.comparable` says which keys may be compared at an instant. A key that is on its way is looked at
again after a round of apply. A key that changes faster than that is compared as the next round will write it.
This happens in a transaction on the shadow that is rolled back. So every key settles, however often it
changes.

A key may be seen by the scan and found by no lookup on either side. It is settled only if the primary has
logged it since: it was deleted. Otherwise a side cannot find its own row, which is a mismatch.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from psycopg import errors as pg_errors

from app.db.apply.changed import without_quarantined
from app.db.apply.comparable import Instant, instant
from app.db.apply.compare import Mismatch, compare_rows
from app.db.apply.round import Applier
from app.db.common.errors import SwitchError, counted
from app.db.common.urls import Side
from app.db.rows import keys
from app.db.rows.catalog import Table
from app.db.rows.keys import Key, RawKey
from app.db.sides.contract import Source

STEP = 500  # keys per hold: the applier waits for milliseconds
PATIENT = 2  # looks that leave a moving key to the next round
LOOKS = 25
OTHERS_APPLY_S = 0.1
FEW_MOVING = 5_000  # keys on their way that are looked up for the sake of a count
COUNTED = "count(*)"  # in the place of a key: the sides have different numbers of rows


class _Undo(Exception):
    """Leaves the shadow's transaction without a trace."""


@dataclass(frozen=True)
class Counted:
    """A table's rows at one instant, those on their way and those set aside left out of `primary` and `shadow`.

    `present`: the primary's rows, which stand on both sides if the two are equal; `set_aside`: rows in quarantine.
    """

    primary: int
    shadow: int
    present: int
    set_aside: int


class Recheck:
    """Confirms or clears suspected keys.

    Args:
        applier: the pair, through connections of this caller's own.
        since: the primary's log position that the shadow had before the first key was seen. None if it is not
            known.
    """

    def __init__(self, applier: Applier, since: str | None = None) -> None:
        self._applier = applier
        self._since = since
        self._may_write = True

    def confirm(self, table: Table, suspected: Collection[Key]) -> list[Mismatch]:
        """Those suspected keys that differ, in no particular order; quarantined rows left out.

        Raises:
            StaleAttempt: the sides were switched meanwhile.
            SwitchError: a key collided with others in flight at every look.
        """
        found: list[Mismatch] = []
        pending = list(suspected)
        for start in range(0, len(pending), STEP):
            found += self._confirm_step(table, set(pending[start : start + STEP]))
        return found

    def unkeyed(self, table: Table, unheld: Collection[tuple[Side, Key]]) -> list[Mismatch]:
        """Rows whose key the side that does not hold them cannot hold, and that are not in quarantine.

        Their mismatches name the key's columns, because nothing can look such a key up, nor re-log it.
        """
        if not unheld:
            return []
        self._apply()
        primary, _ = self._applier.stores.directions()
        kinds = {primary.side: "missing", primary.side.other: "extra"}
        found = [Mismatch(table.name, key, kinds[side], table.key_names) for side, key in unheld]
        return without_quarantined(self._applier.stores, found)

    def _confirm_step(self, table: Table, waiting: set[Key]) -> list[Mismatch]:
        found: list[Mismatch] = []
        for look in range(LOOKS):
            if look:
                self._apply()
            rehearse = look >= PATIENT and self._may_write
            differing, waiting = self._look(table, waiting, rehearse=rehearse)
            found += differing
            if not waiting:
                return found
        raise SwitchError(
            f"{counted(len(waiting), 'key')} of {table.name} could not be compared: their changes collide with others",
            hint="make sure that apply is not paused, then run the same command again",
        )

    def _apply(self) -> None:
        """A round of apply; a role that may only read leaves that to others and gives them time."""
        try:
            self._applier.round()
        except pg_errors.InsufficientPrivilege:
            self._may_write = False
            time.sleep(OTHERS_APPLY_S)

    def _look(self, table: Table, waiting: set[Key], *, rehearse: bool) -> tuple[list[Mismatch], set[Key]]:
        """Compare what can be compared now. Returns the differing keys and those still on their way."""
        moving: set[Key] = set()
        found: list[Mismatch] = []
        try:
            with instant(self._applier.stores) as now:
                on_their_way = now.moving(table, waiting, partial(keys.canonical_of, table))
                moving = waiting if on_their_way is None else on_their_way
                found = self._differing(table, waiting - moving, now)
                if moving and rehearse:
                    raws = [keys.logged(table, key) for key in moving]
                    self._applier.recall(now.target)
                    now.target.delete(table, raws)
                    now.target.insert(table, [rows] if (rows := now.primary.rows_of(table, raws)) else [])
                    refused = {keys.of_row(table, item.row) for item in now.target.unsettled.refused}
                    found += self._differing(table, moving - refused, now)
                    moving = set()
                raise _Undo
        except _Undo:
            pass
        except (pg_errors.IntegrityError, pg_errors.DataError, sqlite3.IntegrityError):
            return found, moving
        return found, moving

    def _differing(self, table: Table, settled: set[Key], now: Instant) -> list[Mismatch]:
        found, unfound = self._compared(table, settled, now, thorough=False)
        if doubtful := {item.key for item in found} | unfound:
            found, unfound = self._compared(table, doubtful, now, thorough=True)
        if unfound:
            found += self._not_deleted(table, unfound, now.primary)
        return without_quarantined(self._applier.stores, found) if found else []

    def _compared(
        self, table: Table, settled: set[Key], now: Instant, *, thorough: bool
    ) -> tuple[list[Mismatch], set[Key]]:
        """The mismatches among some keys, and the keys that neither side finds."""
        raws = [keys.logged(table, key) for key in settled]
        ours = now.primary.rows_of(table, raws, thorough=thorough)
        theirs = now.shadow.rows_of(table, raws, thorough=thorough)
        if now.primary.control.primary is Side.SQLITE:
            found = compare_rows(table, ours, theirs)
        else:
            found = [_seen_from_shadow(item) for item in compare_rows(table, theirs, ours)]
        return found, settled - {keys.of_row(table, row) for row in [*ours, *theirs]}

    def _not_deleted(self, table: Table, unfound: set[Key], primary: Source) -> list[Mismatch]:
        if self._since is None:
            return []
        for raws in primary.changed_keys(table, self._since):
            unfound = set() if None in raws else unfound - {keys.canonical_of(table, raw) for raw in raws}
        return [Mismatch(table.name, key, "unfound") for key in unfound]

    def count(self, table: Table) -> Counted:
        """Count a table's rows on both sides at one instant.

        Raises:
            StaleAttempt: the sides were switched meanwhile.
        """
        for look in range(LOOKS):
            if look:
                self._apply()
            with instant(self._applier.stores) as now:
                moving = now.all_moving(table)
                if moving is None or (len(moving) > FEW_MOVING and look < PATIENT):
                    continue
                counted = self._counted(table, moving, now)
            # What is on its way to quarantine, and has no key to be left out by, is there after a round.
            if counted.primary == counted.shadow or look >= PATIENT:
                return counted
        raise SwitchError(
            f"the rows of {table.name} could not be counted: all of it keeps changing",
            hint="make sure that apply is not paused, then run the same command again",
        )

    def _counted(self, table: Table, moving: list[RawKey], now: Instant) -> Counted:
        held = {
            text
            for (text,) in self._applier.stores.postgres.connection.execute(
                "SELECT k FROM st_quarantine WHERE tbl = %s", (table.name,)
            ).fetchall()
        }
        left_out = {key for raw in moving if (key := keys.canonical_of(table, raw)) is not None}
        known = {key for text in held if (key := keys.known(table, text)) is not None}
        counts = []
        for side in (now.primary, now.shadow):
            rows = side.rows_of(
                table, [keys.logged(table, key) for key in left_out | known], thorough=bool(known)
            )
            aside = [text for row in rows if (text := keys.to_text(keys.of_row(table, row))) in held]
            if len(aside) < len(held):
                uncounted = held - set(aside)
                unnamed = map(keys.to_text, _keys_without_form(table, side))
                others = [text for text in unnamed if text in uncounted]
                aside += others
                rows += [()] * len(others)
            counts.append((side.count(table), len(rows), len(aside)))
        (ours, of_ours, set_aside), (theirs, of_theirs, _) = counts
        return Counted(ours - of_ours, theirs - of_theirs, ours - set_aside, len(held))


def _keys_without_form(table: Table, source: Source) -> list[Key]:
    """Keys of the rows of a side whose key the other side cannot hold."""
    return [
        keys.of_row(table, row)
        for rows in source.all_rows(table)
        for row in rows
        if keys.canonical(table, [row[position] for position in table.key_positions]) is None
    ]


def _seen_from_shadow(item: Mismatch) -> Mismatch:
    kind = {"missing": "extra", "extra": "missing"}.get(item.kind, item.kind)
    return Mismatch(item.table, item.key, kind, item.columns)
