"""Repair: keys that differ go to the primary's change log, where the normal apply finds them.

The primary's rows are never touched, the shadow's only by apply. So a repair cannot delete what the
application wrote. What it cannot mend it names, with the reason.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.db.apply.changed import without_quarantined
from app.db.apply.compare import Mismatch, by_table
from app.db.apply.outcome import Skipped
from app.db.apply.round import Applier
from app.db.common.errors import Refused
from app.db.common.urls import Side
from app.db.rows import keys
from app.db.rows.catalog import Schema, Table
from app.db.rows.keys import Key, RawKey
from app.db.sides.capture.foreign import foreign_triggers
from app.db.sides.capture.triggers import fence_refusal
from app.db.sides.phase import record
from app.db.switch.state.writable import Strangers, forget, strangers
from migration.common.plain import counted
from migration.verify.recheck import COUNTED, Recheck

SHOWN = 20  # keys named in the history
PAGE = 1_000  # keys that are repaired at a time
# Why a repair leaves a mismatch of a kind alone.
_LEFT: dict[str, str] = {
    "double": "two rows on SQLite have this key, in two spellings; delete one of them there",
    "unfound": "a side does not find its own row by its key; REINDEX the table there, then verify again",
    "count": "the sides have different numbers of rows, and no key tells which; run st-migrate verify again",
}


@dataclass
class Repaired:
    """What a repair did: keys that are equal now, and why each other one is not."""

    keys: int = 0
    left: dict[str, list[str]] = field(default_factory=dict)  # reason to "table key"

    def leave(self, reason: str, item: Mismatch) -> None:
        """Note a key that stays as it is."""
        self.left.setdefault(reason, []).append(f"{item.table} {item.key_text()}")

    def reasons(self) -> list[str]:
        """One line for each reason."""
        return [
            f"{len(names)} left, {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}: {reason}"
            for reason, names in self.left.items()
        ]


def repair_all(applier: Applier, tables: Sequence[str], *, discard_strangers: bool = False) -> Repaired:
    """Repair every mismatch on record of some tables, however many there are. See `repair`."""
    done = Repaired()
    found = strangers(applier.stores)
    after = ("", "")
    while True:
        page = [
            (Mismatch(table, _key(applier.schema()[table], key, kind), kind, tuple(json.loads(columns))), key)
            for table, key, kind, columns in applier.stores.postgres.connection.execute(
                "SELECT tbl, k, kind, columns FROM st_mismatch WHERE tbl = ANY(%s::text[]) AND "
                '(tbl COLLATE "C", k COLLATE "C") > (%s, %s) ORDER BY tbl COLLATE "C", k COLLATE "C" LIMIT %s',
                (list(tables), *after, PAGE),
            ).fetchall()
        ]
        if not page:
            break
        after = (page[-1][0].table, page[-1][1])
        _repair(applier, [item for item, _ in page], done, found, discard_strangers)
    if discard_strangers and found and not done.left:
        forget(applier.stores, found, "discarded by st-migrate verify --repair --discard-strangers")
    return done


def _key(table: Table, text: str, kind: str) -> Key:
    return (COUNTED,) if kind == "count" else keys.from_text(table, text)


def repair(applier: Applier, mismatches: Iterable[Mismatch], *, discard_strangers: bool = False) -> int:
    """Re-log keys that differ, apply them, and compare them again.

    Args:
        applier: the pair.
        mismatches: what a verify found. Rows of SQLite, the primary, whose key PostgreSQL cannot hold are left out.
        discard_strangers: overwrite and delete rows that were written on the shadow while it took writes, too.

    Returns:
        How many keys are equal now. The rest is still in `st_mismatch`, or in quarantine.

    Raises:
        Refused: a switch is under way, or apply is paused; what was re-logged is applied later. Or a stranger's
            rows are among them, about which nobody has decided. Nothing was re-logged.
    """
    done = Repaired()
    found = strangers(applier.stores)
    _repair(applier, list(mismatches), done, found, discard_strangers)
    if discard_strangers and found and not done.left:
        forget(applier.stores, found, "discarded by st-migrate verify --repair --discard-strangers")
    return done.keys


def strange(schema: Schema, found: Strangers, mismatches: Iterable[Mismatch]) -> list[Mismatch]:
    """Those mismatches that a stranger's write on the shadow accounts for."""
    written: dict[str, set[Key | None]] = {}
    for name, raws in found.keys.items():
        if table := schema.get(name):
            written[name] = {None if raw is None else keys.canonical_of(table, raw) for raw in raws}
    return [
        item
        for item in mismatches
        if {None, item.key} & written.get(item.table, set())
        or (_has_no_place(item) and item.table in written)
    ]


def _has_no_place(item: Mismatch) -> bool:
    """Whether PostgreSQL cannot hold the key of a row that SQLite has."""
    return item.kind != "different" and bool(item.columns)


def _repair(
    applier: Applier,
    mismatches: Sequence[Mismatch],
    done: Repaired,
    found: Strangers | None,
    discard_strangers: bool,
) -> None:
    wanted = []
    primary, _ = applier.stores.directions()
    for item in mismatches:
        if item.kind in _LEFT:
            done.leave(_LEFT[item.kind], item)
        elif _has_no_place(item) and primary.side is Side.SQLITE:
            done.leave("PostgreSQL cannot hold the key; correct the row on SQLite", item)
        else:
            wanted.append(item)
    if not wanted:
        return
    schema = applier.schema()
    if found and not discard_strangers and (theirs := strange(schema, found, wanted)):
        rows = [f"{item.table} {item.key_text()}" for item in theirs]
        raise Refused(
            f"{len(rows)} of these rows were written on {found.side} while both sides took writes: "
            f"{', '.join(rows[:SHOWN])}; nothing was repaired",
            reasons=tuple(rows),
            hint="write those that are wanted on the primary, then run st-migrate verify --repair --discard-strangers",
        )
    _log_again(applier, schema, wanted)
    outcome = applier.round(durable=True)
    if isinstance(outcome, Skipped):
        raise Refused(
            f"{counted(len(wanted), 'key was', 'keys were')} logged again, but apply stands still: {outcome.reason}",
            hint="run st-migrate resume; the worker then repairs them",
        )
    recheck = Recheck(applier)
    left: list[Mismatch] = []
    for name in by_table(wanted):
        keys_of = {item.key for item in wanted if item.table == name and not _has_no_place(item)}
        left += recheck.confirm(schema[name], keys_of)
    done.keys += _conclude(applier, wanted, left, done)
    triggers = foreign_triggers(applier.stores.sqlite.connection, applier.stores.postgres.connection, schema)
    for item in left:
        names = ", ".join(t.name for t in triggers if t.table == item.table)
        done.leave(
            f"trigger {names} changes what apply writes; see st-migrate preflight"
            if names
            else "it still differs after its primary's row was applied; see docs/dirty-data.md",
            item,
        )


def _log_again(applier: Applier, schema: Schema, wanted: Sequence[Mismatch]) -> None:
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
                    (
                        item.table,
                        None  # the log cannot name such a row of the shadow, so its table is carried whole
                        if _has_no_place(item)
                        else keys.text_on_postgres(
                            schema[item.table], keys.logged(schema[item.table], item.key)
                        ),
                    ),
                )
            record(connection, "repair begun", control.epoch, evidence)
        return
    with applier.stores.postgres.write() as connection:
        record(connection, "repair begun", control.epoch, evidence)
    try:
        with applier.stores.sqlite.write() as sqlite:
            entries = [
                (name, raw, time.time())
                for name in by_table(wanted)
                for raw in _as_stored(applier, schema[name], [m.key for m in wanted if m.table == name])
            ]
            sqlite.executemany("INSERT INTO st_change_log (tbl, k, at) VALUES (?, ?, ?)", entries)
    except sqlite3.Error as error:
        if (refusal := fence_refusal(error)) is None:
            raise
        raise Refused(f"nothing was repaired: {refusal}", hint="wait for the switch, then repeat") from error


def _as_stored(applier: Applier, table: Table, wanted: Sequence[Key]) -> list[RawKey]:
    """Keys as SQLite's own rows spell them; else apply finds no row there, and deletes the shadow's."""
    raws = [keys.logged_on_sqlite(table, key) for key in wanted]
    if not keys.may_coincide(table):
        return raws
    rows = applier.stores.sqlite.reader().rows_of(table, raws, thorough=True)
    return raws + [keys.join([row[position] for position in table.key_positions]) for row in rows]


def _conclude(applier: Applier, wanted: Sequence[Mismatch], left: Sequence[Mismatch], done: Repaired) -> int:
    """Take what is equal now off the list of mismatches and record the outcome."""
    bad = {(item.table, item.key) for item in left}
    equal = [item for item in wanted if (item.table, item.key) not in bad]
    kept = without_quarantined(applier.stores, equal)
    repaired = len(kept)
    for item in set(equal) - set(kept):
        done.leave("the other side cannot hold the row; see st-migrate quarantine list", item)
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
