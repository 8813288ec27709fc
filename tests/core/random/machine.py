"""Random histories as a state machine: writes, rounds, switches and crashes, against a model in memory.

The model knows three things: what the primary holds, what the shadow has been brought to, and who is
primary. After every step both databases must say the same. Writers are strangers to the session layer, or
sessions in strict mode.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import text

from app.db.apply.outcome import Round
from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.db.common.urls import Side
from app.db.session.routed import RoutedSession
from app.db.session.runtime import Runtime
from app.db.switch.coordinator import Moved
from app.db.switch.recover import Recovered
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair

# Few, so that keys and names meet.
IDS = st.integers(1, 4)
NAMES = st.sampled_from(["", "None", "ä"])
APPLY = st.sampled_from([point for point in Failpoint if point.startswith("apply.")])
SWITCH = st.sampled_from([point for point in Failpoint if point.startswith("switch.")])
COMMITTED = (Failpoint.SWITCH_COMMITTED, Failpoint.SWITCH_DONE)

Rows = dict[int, tuple[str, int]]  # item: id to (name, qty); names are unique
State = tuple[Rows, dict[int, int], dict[int, int]]  # item; pet: id to owner; counter: id to n


def _put(rows: Rows, key: int, name: str) -> None:
    """What REPLACE does: whoever has the key or the name goes."""
    for other in [k for k, (n, _) in rows.items() if k == key or n == name]:
        del rows[other]
    rows[key] = (name, 0)


class Histories(RuleBasedStateMachine):
    pair: ClassVar[TestPair]
    renew: ClassVar[Callable[[], TestPair]]
    zygote: ClassVar[Zygote]
    writer: ClassVar[Callable[[TestPair], Runtime] | None] = (
        None  # of sessions in strict mode; None: a stranger
    )
    whole: ClassVar[bool] = True  # false from the start of a history to its good end

    def __init__(self) -> None:
        super().__init__()
        if not Histories.whole:
            Histories.pair = Histories.renew()
        Histories.whole = False
        self.primary = Side(self.pair.lite.execute("SELECT primary_side FROM st_control").fetchone()[0])
        self.open: list[tuple[Any, int]] = []
        self.serial = 100

    @initialize(start=st.sampled_from(list(Side)))
    def empty(self, start: Side) -> None:
        """The same pair serves all histories; each starts with empty tables on a primary of its choice."""
        self.pair.lite.execute("PRAGMA foreign_keys = ON")
        if self.primary is not start:
            self.pair.moved(start)
            self.primary = start
        for table in ("pet", "loan", "stray", "owner", "item", "counter"):
            self.app.execute(f"DELETE FROM {table}")
        self.app.execute("INSERT INTO owner (id, name) VALUES (1, 'o1'), (2, 'o2')")
        self.now: State = ({}, {}, {})
        self.applied: State = ({}, {}, {})
        self.owners = {1, 2}
        self.applied_owners = {1, 2}
        self.pair.drain()

    @property
    def app(self) -> Any:
        return self.pair.app(self.primary)

    # Writes. Each is one transaction that is either committed or rolled back.

    def _write(self, statements: list[str], *, keep: bool, change: Callable[[], None]) -> None:
        before = deepcopy((self.now, self.owners))
        if self.writer is None:
            self.app.execute("BEGIN")
            for statement in statements:
                self.app.execute(statement)
            self.app.execute("COMMIT" if keep else "ROLLBACK")
        else:
            with RoutedSession(pair=self.writer(self.pair)) as session:
                for statement in statements:
                    session.execute(text(statement))
                (session.commit if keep else session.rollback)()
        if keep:
            change()
        if self.writer is not None:
            # Strict: the shadow has it when the commit returns. What changed nothing may have carried others.
            if keep and (self.now, self.owners) != before:
                self._applied_all()
            self._reread()

    @rule(key=IDS, name=NAMES, keep=st.booleans(), before=st.booleans())
    def put(self, key: int, name: str, keep: bool, before: bool) -> None:
        if before:
            self.apply()
        columns = f"item (id, name, qty, lane, slot, note) VALUES ({key}, '{name}', 0, NULL, NULL, 'x')"
        self._write(
            [f"REPLACE INTO {columns}"]
            if self.primary is Side.SQLITE
            else [f"DELETE FROM item WHERE id = {key} OR name = '{name}'", f"INSERT INTO {columns}"],
            keep=keep,
            change=lambda: _put(self.now[0], key, name),
        )

    @rule(key=IDS, keep=st.booleans())
    def delete(self, key: int, keep: bool) -> None:
        self._write(
            [f"DELETE FROM item WHERE id = {key}"],
            keep=keep,
            change=lambda: self.now[0].pop(key, None) and None,
        )

    @rule(key=IDS, name=NAMES)
    def put_and_apply(self, key: int, name: str) -> None:
        self.put(key, name, True, True)
        self.apply()

    @rule(old=IDS, new=IDS)
    def move_key(self, old: int, new: int) -> None:
        if old == new:
            return

        def change() -> None:
            if old in self.now[0]:
                self.now[0][new] = self.now[0].pop(old)

        if self.primary is Side.SQLITE:
            statements = [f"UPDATE OR REPLACE item SET id = {new} WHERE id = {old}"]
        else:
            present = f"EXISTS (SELECT 1 FROM item WHERE id = {old})"
            statements = [
                f"DELETE FROM item WHERE id = {new} AND {present}",
                f"UPDATE item SET id = {new} WHERE id = {old}",
            ]
        self._write(statements, keep=True, change=change)

    @rule(one=IDS, two=IDS)
    def swap_names(self, one: int, two: int) -> None:
        rows = self.now[0]
        if one == two or one not in rows or two not in rows:
            return

        def change() -> None:
            (a, n), (b, m) = rows[one], rows[two]
            rows[one], rows[two] = (b, n), (a, m)

        self._write(
            [
                f"UPDATE item SET name = 'swap' WHERE id = {one}",
                f"UPDATE item SET name = '{rows[one][0]}' WHERE id = {two}",
                f"UPDATE item SET name = '{rows[two][0]}' WHERE id = {one}",
            ],
            keep=True,
            change=change,
        )

    @rule(keep=st.booleans())
    def bulk(self, keep: bool) -> None:
        def change() -> None:
            for key, (name, qty) in self.now[0].items():
                self.now[0][key] = (name, qty + 1)

        self._write(["UPDATE item SET qty = qty + 1"], keep=keep, change=change)

    @rule()
    def empty_item(self) -> None:
        self.apply()
        statement = "DELETE FROM item" if self.primary is Side.SQLITE else "TRUNCATE item"
        self._write([statement], keep=True, change=self.now[0].clear)

    @rule(key=IDS, owner=st.integers(1, 2))
    def pet(self, key: int, owner: int) -> None:
        pets = self.now[1]
        if key not in pets and owner in self.owners:
            self._write(
                [f"INSERT INTO pet (id, owner_id) VALUES ({key}, {owner})"],
                keep=True,
                change=lambda: pets.update({key: owner}),
            )

    @rule(owner=st.integers(1, 2))
    def owner_goes(self, owner: int) -> None:
        """The foreign key takes the pets along, on either side."""

        def change() -> None:
            self.owners.discard(owner)
            for key in [k for k, of in self.now[1].items() if of == owner]:
                del self.now[1][key]

        self._write([f"DELETE FROM owner WHERE id = {owner}"], keep=True, change=change)

    @precondition(lambda self: self.primary is Side.POSTGRES and len(self.open) < 3)
    @rule()
    def begin_slow(self) -> None:
        """A transaction that takes its place in the log now and becomes visible later."""
        self.serial += 1
        key = self.serial
        connection = self.pair.new_pg()
        connection.execute("BEGIN")
        connection.execute("INSERT INTO counter (id, n) VALUES (%s, 0)", (key,))
        self.open.append((connection, key))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), keep=st.booleans())
    def end_slow(self, data: st.DataObject, keep: bool) -> None:
        connection, key = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        connection.execute("COMMIT" if keep else "ROLLBACK")
        connection.close()
        if keep:
            self.now[2][key] = 0

    @rule(key=IDS)
    def stranger(self, key: int) -> None:
        """A write to the shadow is refused."""
        with pytest.raises((sqlite3.OperationalError, psycopg.OperationalError)):
            self.pair.app(self.primary.other).execute(f"INSERT INTO counter (id, n) VALUES ({key}, 0)")

    # The protocol.

    def _applied_all(self) -> None:
        self.applied, self.applied_owners = deepcopy(self.now), set(self.owners)

    @rule()
    def apply(self) -> None:
        assert isinstance(self.pair.applier.round(), Round)
        self._applied_all()

    @rule(point=APPLY, kill=st.booleans())
    def apply_fails(self, point: Failpoint, kill: bool) -> None:
        pending = (self.now, self.owners) != (self.applied, self.applied_owners)
        if kill:
            self.zygote.run("round", self.pair, failpoints=f"{point}=kill")
        else:
            with arm(point, "raise"):
                try:
                    self.pair.applier.round()
                except FailpointError:
                    pass
                else:
                    self._applied_all()
        if pending and point is Failpoint.APPLY_AFTER_COMMIT:
            self._applied_all()
        self._reread()

    def _reread(self) -> None:
        """A failed round is all or nothing; whether it counts is what the shadow says."""
        shadow = self._state(self.primary.other)
        if shadow == (self.now, self.owners):
            self._applied_all()

    @precondition(lambda self: not self.open)
    @rule()
    def switch(self) -> None:
        self.pair.moved(self.primary.other)
        self.primary = self.primary.other
        self._applied_all()

    @precondition(lambda self: not self.open)
    @rule(point=SWITCH, kill=st.booleans())
    def switch_fails(self, point: Failpoint, kill: bool) -> None:
        to = self.primary.other
        if kill:
            assert self.zygote.run("move", self.pair, to, failpoints=f"{point}=kill") < 0
            assert len(self.pair.writable_sides()) <= 1
            self.pair.expire_attempt()
            assert self.pair.recover() is not Recovered.WAIT
        else:
            with arm(point, "raise"), pytest.raises(FailpointError):
                self.pair.move(to)
        if point in COMMITTED:
            self.primary = to
        self._applied_all()
        assert self.pair.writable_sides() == {self.primary}

    @precondition(lambda self: self.open)
    @rule()
    def switch_waits_in_vain(self) -> None:
        """A writer is in flight and does not end: the switch is called off."""
        outcome = self.pair.move(self.primary.other, max_pause_ms=30)
        assert not isinstance(outcome, Moved)
        self._applied_all()

    # What must hold after every step.

    def _state(self, side: Side) -> tuple[State, set[int]]:
        app = self.pair.app(side)
        items = {
            key: (name, qty) for key, name, qty in app.execute("SELECT id, name, qty FROM item").fetchall()
        }
        pets = dict(app.execute("SELECT id, owner_id FROM pet").fetchall())
        counters = dict(app.execute("SELECT id, n FROM counter").fetchall())
        return (items, pets, counters), {key for (key,) in app.execute("SELECT id FROM owner").fetchall()}

    @invariant()
    def both_sides_are_what_the_model_says(self) -> None:
        assert self._state(self.primary) == (self.now, self.owners)
        assert self._state(self.primary.other) == (self.applied, self.applied_owners)

    def teardown(self) -> None:
        for connection, _ in self.open:
            connection.close()
        if hasattr(self, "now"):
            self.pair.drain()
            self.pair.assert_same()
            Histories.whole = True
