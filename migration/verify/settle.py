"""Whether suspected keys really differ, decided at one instant; and the repair of those that do.

`app.db.apply.comparable` says which keys may be compared at an instant. A key that is on its way is looked at
again after a round of apply. One that changes faster than that is compared as the next round will write it,
in a transaction on the shadow that is rolled back. So every key settles, however often it changes.

Repair writes the keys to the primary's change log, where the normal apply finds them: the primary's rows
are never touched, the shadow's only by apply.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from functools import partial

from psycopg import errors as pg_errors

from app.db.apply.changed import without_quarantined
from app.db.apply.comparable import Instant, instant
from app.db.apply.round import Applier, Standing
from app.db.common.errors import Refused, SwitchError
from app.db.common.urls import Side
from app.db.rows import keys
from app.db.rows.catalog import Schema, Table
from app.db.rows.compare import Mismatch, by_table, compare_rows
from app.db.rows.keys import Key
from app.db.sides.capture.triggers import fence_refusal
from app.db.sides.phase import record
from app.db.switch.writable import Strangers, forget, strangers

STEP = 500  # keys per hold: the applier waits for milliseconds
PATIENT = 2  # looks that leave a moving key to the next round
LOOKS = 25
OTHERS_APPLY_S = 0.1
SHOWN = 20  # keys named in the history


class _Undo(Exception):
    """Leaves the shadow's transaction without a trace."""


class Settler:
    """Confirms or clears suspected keys.

    Args:
        applier: the pair, through connections of this caller's own.
    """

    def __init__(self, applier: Applier) -> None:
        self._applier = applier
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

    def unkeyed(self, table: Table, unheld: Collection[Key]) -> list[Mismatch]:
        """Rows of SQLite whose key PostgreSQL cannot hold and that are not in quarantine.

        Their mismatches name the key's columns, because nothing can look such a key up, nor re-log it.
        """
        if not unheld:
            return []
        self._apply()
        primary, _ = self._applier.stores.directions()
        kind = "missing" if primary.side is Side.SQLITE else "extra"
        found = [Mismatch(table.name, key, kind, table.key_names) for key in unheld]
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
            f"{len(waiting)} keys of {table.name} could not be compared: their changes collide with others",
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
        """Compare what can be compared now; returns the differing keys and those still on their way."""
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
        raws = [keys.logged(table, key) for key in settled]
        ours, theirs = now.primary.rows_of(table, raws), now.shadow.rows_of(table, raws)
        if now.primary.control.primary is Side.SQLITE:
            found = compare_rows(table, ours, theirs)
        else:
            found = [_seen_from_shadow(item) for item in compare_rows(table, theirs, ours)]
        return without_quarantined(self._applier.stores, found) if found else []


def _seen_from_shadow(item: Mismatch) -> Mismatch:
    kind = {"missing": "extra", "extra": "missing"}.get(item.kind, item.kind)
    return Mismatch(item.table, item.key, kind, item.columns)


def strange(schema: Schema, found: Strangers, mismatches: Iterable[Mismatch]) -> list[Mismatch]:
    """Those mismatches that a stranger's write on the shadow accounts for."""
    written: dict[str, set[Key | None]] = {}
    for name, raws in found.keys.items():
        if table := schema.get(name):
            written[name] = {None if raw is None else keys.canonical_of(table, raw) for raw in raws}
    return [item for item in mismatches if {None, item.key} & written.get(item.table, set())]


def repair(applier: Applier, mismatches: Iterable[Mismatch], *, discard_strangers: bool = False) -> int:
    """Re-log keys that differ, apply them, and compare them again.

    Args:
        applier: the pair.
        mismatches: what a verify found. Rows whose key PostgreSQL cannot hold are left out.
        discard_strangers: overwrite and delete rows that were written on the shadow while it took writes, too.

    Returns:
        How many keys are equal now. The rest is still in `st_mismatch`, or in quarantine.

    Raises:
        Refused: a switch is under way, or apply is paused; what was re-logged is applied later. Or a stranger's
            rows are among them, about which nobody has decided; nothing was re-logged.
    """
    wanted = [item for item in mismatches if item.kind == "different" or not item.columns]
    if not wanted:
        return 0
    found = strangers(applier.stores)
    if found and not discard_strangers and (theirs := strange(applier.schema(), found, wanted)):
        names = [f"{item.table} {item.key_text()}" for item in theirs]
        raise Refused(
            f"{len(names)} of these rows were written on {found.side} while both sides took writes: "
            f"{', '.join(names[:SHOWN])}; nothing was repaired",
            reasons=tuple(names),
            hint="write those that are wanted on the primary, then run st-migrate verify --repair --discard-strangers",
        )
    schema = applier.schema()
    _log_again(applier, schema, wanted)
    outcome = applier.round(durable=True)
    if isinstance(outcome, Standing):
        raise Refused(
            f"{len(wanted)} keys were logged again, but apply stands still: {outcome.reason}",
            hint="run st-migrate resume; the worker then repairs them",
        )
    settler = Settler(applier)
    left: list[Mismatch] = []
    for name in by_table(wanted):
        left += settler.confirm(schema[name], {item.key for item in wanted if item.table == name})
    repaired = _conclude(applier, wanted, left)
    if discard_strangers and not left:
        forget(applier.stores, found, "discarded by st-migrate verify --repair --discard-strangers")
    return repaired


def _log_again(applier: Applier, schema: dict[str, Table], wanted: Sequence[Mismatch]) -> None:
    """Write the keys to the primary's log in one transaction, and say so in the history."""
    primary, _ = applier.stores.directions()
    control = applier.stores.postgres.read_control()
    evidence = {
        "tables": by_table(wanted),
        "first": [f"{item.table} {item.key_text()}" for item in wanted[:SHOWN]],
    }
    if primary.side is Side.POSTGRES:
        with applier.stores.postgres.write() as connection:
            if connection.execute("SELECT st_may_write()").fetchone() != (True,):
                raise Refused(
                    "nothing was repaired: postgres takes no application writes now",
                    hint="wait for the switch, then repeat",
                )
            for item in wanted:
                connection.execute(
                    "INSERT INTO st_change_log (tbl, k) VALUES (%s, %s)",
                    (item.table, str(keys.logged(schema[item.table], item.key))),
                )
            record(connection, "repair begun", control.epoch, evidence)
        return
    with applier.stores.postgres.write() as connection:
        record(connection, "repair begun", control.epoch, evidence)
    try:
        with applier.stores.sqlite.write() as sqlite:
            sqlite.executemany(
                "INSERT INTO st_change_log (tbl, k, at) VALUES (?, ?, ?)",
                [
                    (item.table, keys.logged_on_sqlite(schema[item.table], item.key), time.time())
                    for item in wanted
                ],
            )
    except sqlite3.Error as error:
        if (refusal := fence_refusal(error)) is None:
            raise
        raise Refused(f"nothing was repaired: {refusal}", hint="wait for the switch, then repeat") from error


def _conclude(applier: Applier, wanted: Sequence[Mismatch], left: Sequence[Mismatch]) -> int:
    """Take what is equal now off the list of mismatches and record the outcome."""
    bad = {(item.table, item.key) for item in left}
    equal = [item for item in wanted if (item.table, item.key) not in bad]
    repaired = len(without_quarantined(applier.stores, equal))
    with applier.stores.postgres.write() as connection:
        connection.execute(
            "DELETE FROM st_mismatch m USING unnest(%s::text[], %s::text[]) AS u(t, k) "
            "WHERE m.tbl = u.t AND m.k = u.k",
            ([item.table for item in equal], [item.key_text() for item in equal]),
        )
        record(
            connection,
            "repair",
            applier.stores.postgres.read_control().epoch,
            {"repaired": repaired, "quarantined": len(equal) - repaired, "left": len(left)},
        )
    return repaired
