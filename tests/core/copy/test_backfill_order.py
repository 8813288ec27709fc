"""P5: the copy of a row, a change of it and the apply of that change, in every order.

Only `item` is left to copy, in chunks of two rows, so that every order can be placed. Whatever the order,
the newest row wins and a deleted row stays deleted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from app.db.apply.outcome import Round
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.sides.phase import Phase
from migration.fill.backfill import Backfill, Progress
from tests.support.pairs import TestPair, wait_until

CHUNK = 2
WRITES = {
    "update": "UPDATE item SET qty = 99, name = 'changed' WHERE id = 2",
    "delete": "DELETE FROM item WHERE id = 2",
    "delete_last_of_chunk": "DELETE FROM item WHERE id = 4",
    "insert_into_copied_range": "INSERT INTO item (id, name) VALUES (-7, 'low')",
    "insert_beyond": "INSERT INTO item (id, name) VALUES (7000, 'high')",
    "move_down": "UPDATE item SET id = -5 WHERE id = 5",
    "move_up": "UPDATE item SET id = 5000 WHERE id = 1",
    "replace": "REPLACE INTO item (id, name) VALUES (5, 'one')",
    "swap": "UPDATE item SET id = CASE id WHEN 1 THEN 5000 ELSE id END WHERE id IN (1, 5)",
}


@pytest.fixture(params=WRITES)
def write(request: pytest.FixtureRequest) -> str:
    return WRITES[str(request.param)]


@pytest.fixture
def items(copying: TestPair) -> TestPair:
    """Only `item` is left to copy."""
    copying.pg.execute("UPDATE st_copy_range SET done = true WHERE tbl <> 'item'")
    return copying


def _assert_same_items(pair: TestPair) -> None:
    assert pair.pg.execute("SELECT phase FROM st_control").fetchone() == (Phase.REPLICATING,)
    assert pair.pg.execute("SELECT tbl, k, reason FROM st_quarantine").fetchall() == []
    assert pair.contents(Side.POSTGRES)["item"] == pair.contents(Side.SQLITE)["item"]


def test_copy_then_update_then_apply(items: TestPair, write: str) -> None:
    other = items.new_applier()

    def after_each_chunk(progress: Progress) -> None:
        if not items.log_size(Side.SQLITE):
            items.lite.execute(write)
            assert isinstance(other.round(), Round)

    Backfill(items.applier, chunk_rows=CHUNK).run(after_each_chunk)
    _assert_same_items(items)


def test_update_then_copy_then_apply(items: TestPair, write: str) -> None:
    items.lite.execute(write)
    Backfill(items.applier, chunk_rows=CHUNK).run()
    _assert_same_items(items)


def test_update_then_apply_then_copy(items: TestPair, write: str) -> None:
    items.lite.execute(write)
    assert items.drain().changes > 0
    Backfill(items.applier, chunk_rows=CHUNK).run()
    _assert_same_items(items)


def test_read_then_update_then_copy_then_apply(items: TestPair, write: str) -> None:
    """The change comes after the chunk was read and before it is written."""

    def once() -> None:
        if not items.log_size(Side.SQLITE):
            items.lite.execute(write)

    with arm(Failpoint.COPY_CHUNK_READ, once):
        Backfill(items.applier, chunk_rows=CHUNK).run()
    _assert_same_items(items)


def test_copy_then_update_then_apply_waits_for_commit(items: TestPair, write: str) -> None:
    """A round that begins while a chunk is open waits for it: it must not be overwritten by older rows."""
    other = items.new_applier()
    rounds: list[threading.Thread] = []

    def once() -> None:
        if rounds:
            return
        items.lite.execute(write)
        rounds.append(threading.Thread(target=other.round))
        rounds[0].start()
        wait_until(lambda: _waiting(items))

    with arm(Failpoint.COPY_BEFORE_COMMIT, once):
        Backfill(items.applier, chunk_rows=CHUNK).run()
    rounds[0].join(20)
    _assert_same_items(items)


def _waiting(pair: TestPair) -> bool:
    row = pair.pg.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return row is not None and row[0] > 0


def test_a_write_at_every_step_of_the_copy(copying: TestPair) -> None:
    """Every table is written at every chunk, before and after it is read, while rounds go on."""
    other = copying.new_applier()
    n = 0

    def write() -> None:
        nonlocal n
        n += 1
        for statement in (
            "UPDATE item SET qty = qty + 1",
            f"REPLACE INTO item (id, name) VALUES ({100 + n % 3}, 'name {n % 4}')",
            f"INSERT OR REPLACE INTO pairkey VALUES ({n % 5}, '{n % 2}', 'v{n}')",
            "DELETE FROM counter WHERE id = (SELECT min(id) FROM counter)",
            f"INSERT OR REPLACE INTO counter (id, n) VALUES ({n % 7}, {n})",
            f"UPDATE code SET code = 'k{n}' WHERE rank = 1",
            f"UPDATE token SET id = '{n:032x}' WHERE id = (SELECT max(id) FROM token)",
        ):
            copying.lite.execute(statement)

    def write_and_apply() -> None:
        write()
        other.round()

    with arm(Failpoint.COPY_CHUNK_READ, write), arm(Failpoint.COPY_AFTER_COMMIT, write_and_apply):
        Backfill(copying.applier, chunk_rows=CHUNK).run()
    copying.drain()
    copying.assert_same()


def test_two_workers_share_the_ranges(copying: TestPair) -> None:
    """The second copies what the first does not hold, and leaves the end to the first."""
    first, second = copying.new_applier(), copying.new_applier()
    copied: list[str] = []
    result: list[int] = []

    def let_the_other_copy() -> None:
        if not result:
            result.append(Backfill(second, chunk_rows=CHUNK).run(lambda done: copied.append(done.table)))

    with arm(Failpoint.COPY_BEFORE_COMMIT, _once(let_the_other_copy)):
        Backfill(first, chunk_rows=CHUNK).run()
    assert len(set(copied)) > 5
    assert copying.pg.execute("SELECT phase FROM st_control").fetchone() == (Phase.REPLICATING,)
    copying.assert_same()


def _once(action: Callable[[], object]) -> Callable[[], None]:
    state = {"done": False}

    def act() -> None:
        if not state["done"]:
            state["done"] = True
            action()

    return act


def test_two_workers_build_the_indexes(copying: TestPair) -> None:
    """Both find the same indexes missing; the one that comes second takes what is left."""
    first, second = copying.new_applier(), copying.new_applier()
    with arm(Failpoint.COPY_INDEX, _once(lambda: Backfill(second).run())):
        Backfill(first).run()
    copying.assert_same()
    found = copying.pg.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'item'").fetchone()
    assert found == (5,)
