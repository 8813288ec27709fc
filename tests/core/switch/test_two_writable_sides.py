"""Two writable sides are noticed by whoever looks; the way out fences one, deletes nothing and asks first."""

from __future__ import annotations

import pytest

from app.db.common.errors import Refused
from app.db.common.urls import Side
from app.db.switch import gates
from app.db.switch.recover import Recovered
from app.db.switch.state.writable import strangers, writable_sides
from migration.verify.run import Verify, repair
from tests.support.pairs import TestPair


def open_both(pair: TestPair, primary: Side) -> None:
    """What no step of the protocol does: the shadow's fence is down, and that is committed."""
    on = "true" if primary is Side.SQLITE else "1"
    pair.app(primary.other).execute(f"UPDATE st_control SET writable = {on}")


def write_on_the_shadow(pair: TestPair, primary: Side) -> None:
    pair.app(primary.other).execute("INSERT INTO counter (id, n) VALUES (4711, 5)")
    pair.app(primary.other).execute("UPDATE item SET qty = 99 WHERE id = 1")


def gate(pair: TestPair, primary: Side) -> gates.Gate:
    found = gates.evaluate(pair.applier, primary.other, max_pause_ms=5_000)
    return next(item for item in found if item.name == "writable")


@pytest.fixture
def opened(pair: TestPair, primary: Side) -> TestPair:
    pair.drain()
    assert gate(pair, primary).ok
    open_both(pair, primary)
    return pair


def test_they_are_seen_and_named(opened: TestPair, primary: Side) -> None:
    assert set(writable_sides(opened.applier.stores)) == set(Side)
    write_on_the_shadow(opened, primary)
    closed = gate(opened, primary)
    assert not closed.ok and "both sides take writes" in closed.detail
    assert "counter 4711" in closed.detail and "item 1" in closed.detail
    assert closed.remedy == "run st-migrate recover"


def test_recover_fences_the_second_side_and_leaves_its_rows(opened: TestPair, primary: Side) -> None:
    write_on_the_shadow(opened, primary)
    assert opened.recover() is Recovered.FENCED
    assert opened.writable_sides() == {primary}
    assert opened.recover() is Recovered.NOTHING
    assert sorted(strangers(opened.applier.stores).names()) == ["counter 4711", "item 1"]
    rows = opened.app(primary.other).execute("SELECT n FROM counter WHERE id = 4711").fetchall()
    assert rows == [(5,)]
    assert opened.pg.execute("SELECT event FROM st_history ORDER BY id DESC LIMIT 1").fetchone() == (
        "second side fenced",
    )
    closed = gate(opened, primary)
    assert not closed.ok and "--discard-strangers" in closed.remedy


def test_repair_does_not_delete_what_a_stranger_wrote_until_told_to(opened: TestPair, primary: Side) -> None:
    write_on_the_shadow(opened, primary)
    opened.recover()
    opened.applier.forget_schema()
    found = Verify(opened.applier, tables=["counter", "item"]).run()
    assert sum(found.per_table.values()) == 2
    with pytest.raises(Refused, match="counter 4711") as refused:
        repair(opened.applier, found.mismatches)
    assert "--discard-strangers" in str(refused.value.hint)
    shadow = opened.app(primary.other)
    assert shadow.execute("SELECT n FROM counter WHERE id = 4711").fetchall() == [(5,)]
    assert repair(opened.applier, found.mismatches, discard_strangers=True) == 2
    opened.assert_same()
    assert not strangers(opened.applier.stores)
    assert gate(opened, primary).ok


def test_a_damaged_row_that_no_stranger_wrote_is_repaired_all_the_same(
    opened: TestPair, primary: Side
) -> None:
    opened.app(primary.other).execute("UPDATE item SET qty = 99 WHERE id = 2")
    opened.recover()
    opened.clear_log(primary.other)  # as if it had been written around capture
    found = Verify(opened.applier, tables=["counter", "item"]).run()
    assert repair(opened.applier, found.mismatches) == 1
    opened.assert_same()


def test_a_switch_is_never_taken_for_two_writable_sides(pair: TestPair, primary: Side) -> None:
    """Both rows are read, and both may be writable at different moments of one switch."""
    pair.drain()
    read = pair.applier.stores.sqlite.connection
    seen = []
    original = pair.applier.stores.postgres.read_control

    def moves_in_between() -> object:
        before = original()
        if not seen:
            seen.append(True)
            other = pair.new_applier()
            pair.move(primary.other, applier=other)
        return before

    pair.applier.stores.postgres.read_control = moves_in_between  # type: ignore[method-assign]
    assert len(writable_sides(pair.applier.stores)) <= 1
    assert seen and read is pair.applier.stores.sqlite.connection
