"""P2, P4 and P6: the switch is killed, woken late, raced and cut off at every point, in both directions."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from app.db.common.errors import StaleAttempt
from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.db.common.settings import load_settings
from app.db.common.urls import Side
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.stores import Stores
from app.db.switch.coordinator import Aborted, Moved
from app.db.switch.recover import Recovered
from loadtests.stage.embedded import free_port
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair, wait_until

SWITCH = [point for point in Failpoint if point.startswith("switch.")]
COMMITTED = (Failpoint.SWITCH_COMMITTED, Failpoint.SWITCH_DONE)
BEFORE_COMMIT = [point for point in SWITCH if point not in COMMITTED]


def _assert_whole(pair: TestPair, primary: Side, rows: Any) -> None:
    """One primary, both sides alike, and every row that was acknowledged is there."""
    assert pair.writable_sides() == {primary}
    assert len(set(pair.epochs())) == 1
    pair.drain()
    assert pair.contents(primary) == rows
    pair.assert_same()


@pytest.fixture
def acknowledged(pair: TestPair, primary: Side) -> Any:
    """Writes that apply has not seen yet, and what the primary holds with them."""
    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    pair.app(primary).execute("DELETE FROM code WHERE rank = 2")
    pair.app(primary).execute("UPDATE item SET id = 77 WHERE id = 3")
    return pair.contents(primary)


@pytest.mark.parametrize("point", SWITCH)
def test_killed_switch(
    pair: TestPair, primary: Side, zygote: Zygote, point: Failpoint, acknowledged: Any
) -> None:
    assert zygote.run("move", pair, primary.other, failpoints=f"{point}=kill") == -SIGKILL
    assert len(pair.writable_sides()) <= 1
    now = primary.other if point in COMMITTED else primary
    if point not in COMMITTED:
        assert pair.recover() is Recovered.WAIT
        pair.expire_attempt()
    expected = {
        Failpoint.SWITCH_COMMITTED: Recovered.FOLLOWED,
        Failpoint.SWITCH_DONE: Recovered.NOTHING,
    }.get(point, Recovered.ENDED)
    assert pair.recover() is expected
    assert pair.recover() is Recovered.NOTHING
    _assert_whole(pair, now, acknowledged)
    pair.moved(now.other)
    _assert_whole(pair, now.other, acknowledged)


@pytest.mark.parametrize("point", BEFORE_COMMIT)
def test_killed_switch_then_the_same_command(
    pair: TestPair, primary: Side, zygote: Zygote, point: Failpoint, acknowledged: Any
) -> None:
    """Without a recovery in between the next attempt says that one is under way; after it, it goes through."""
    assert zygote.run("move", pair, primary.other, failpoints=f"{point}=kill") == -SIGKILL
    refused = pair.move(primary.other)
    assert isinstance(refused, Aborted)
    assert refused.retryable
    assert len(pair.writable_sides()) <= 1
    pair.expire_attempt()
    pair.recover()
    pair.moved(primary.other)
    _assert_whole(pair, primary.other, acknowledged)


def test_killed_recovery(pair: TestPair, primary: Side, zygote: Zygote, acknowledged: Any) -> None:
    assert zygote.run("move", pair, primary.other, failpoints="switch.drained=kill") == -SIGKILL
    pair.expire_attempt()
    assert zygote.run("recover", pair, failpoints="recover.decided=kill") == -SIGKILL
    assert len(pair.writable_sides()) <= 1
    assert pair.recover() is (Recovered.FOLLOWED if primary is Side.SQLITE else Recovered.NOTHING)
    _assert_whole(pair, primary, acknowledged)


@pytest.mark.parametrize("point", SWITCH)
def test_exception_at_any_point(pair: TestPair, primary: Side, point: Failpoint, acknowledged: Any) -> None:
    """An error, or Ctrl-C, is not a crash: nobody has to recover after it."""
    with arm(point, "raise"), pytest.raises(FailpointError):
        pair.move(primary.other)
    _assert_whole(pair, primary.other if point in COMMITTED else primary, acknowledged)
    assert pair.recover() is Recovered.NOTHING


@contextlib.contextmanager
def _asleep(zygote: Zygote, pair: TestPair, to: Side, point: Failpoint, folder: Path) -> Iterator[list[str]]:
    """A coordinator in another process that sleeps at a point until the block ends; yields its answer."""
    wake, answer = folder / "wake", folder / "answer"
    child = zygote.start("move", pair, to, str(answer), failpoints=f"{point}=wait:{wake}")
    wait_until((folder / "wake.reached").exists)
    said: list[str] = []
    yield said
    wake.touch()
    assert child.wait() == 0
    said += json.loads(answer.read_text(encoding="utf-8"))


@pytest.mark.parametrize("point", BEFORE_COMMIT)
def test_coordinator_that_wakes_after_recovery(
    pair: TestPair, primary: Side, zygote: Zygote, point: Failpoint, acknowledged: Any, tmp_path: Path
) -> None:
    del acknowledged
    with _asleep(zygote, pair, primary.other, point, tmp_path) as said:
        pair.expire_attempt()
        assert pair.recover() is Recovered.ENDED
        pair.app(primary).execute("UPDATE item SET qty = 4711 WHERE id = 1")
        rows = pair.contents(primary)
        epochs = pair.epochs()
    # PostgreSQL's fence asks for the attempt itself, so there the attempt ends one step earlier.
    assert said[0] == (
        "Aborted" if (point, primary) == (Failpoint.SWITCH_BEGUN, Side.POSTGRES) else StaleAttempt.__name__
    )
    assert pair.epochs() == epochs
    _assert_whole(pair, primary, rows)
    assert pair.recover() is Recovered.NOTHING


@pytest.mark.parametrize("point", BEFORE_COMMIT)
def test_coordinator_that_wakes_after_others_have_switched(
    pair: TestPair, primary: Side, zygote: Zygote, point: Failpoint, acknowledged: Any, tmp_path: Path
) -> None:
    del acknowledged
    with _asleep(zygote, pair, primary.other, point, tmp_path) as said:
        pair.expire_attempt()
        pair.recover()
        pair.moved(primary.other)
        pair.app(primary.other).execute("UPDATE item SET qty = 4711 WHERE id = 1")
        rows = pair.contents(primary.other)
        epochs = pair.epochs()
    assert said[0] in ("StaleAttempt", "Aborted", "NotPrepared")
    assert pair.epochs() == epochs
    _assert_whole(pair, primary.other, rows)


@pytest.mark.parametrize("point", BEFORE_COMMIT)
def test_coordinator_that_wakes_after_there_and_back(
    pair: TestPair, primary: Side, zygote: Zygote, point: Failpoint, tmp_path: Path
) -> None:
    with _asleep(zygote, pair, primary.other, point, tmp_path) as said:
        pair.expire_attempt()
        pair.recover()
        pair.moved(primary.other)
        pair.moved(primary)
        pair.app(primary).execute("UPDATE item SET qty = 4711 WHERE id = 1")
        rows = pair.contents(primary)
        epochs = pair.epochs()
    assert said[0] in ("StaleAttempt", "Aborted")
    assert pair.epochs() == epochs
    _assert_whole(pair, primary, rows)


def _cut_off(pair: TestPair) -> Stores:
    """The stores of a process that reaches the SQLite file and not PostgreSQL."""
    nowhere = pair.pair.postgres.set(port=free_port())
    store = PostgresStore(nowhere, load_settings())
    return Stores(pair.new_stores().sqlite, store)


@pytest.mark.parametrize(
    "point", [Failpoint.SWITCH_FENCED, Failpoint.SWITCH_DRAINED, Failpoint.SWITCH_CHECKED]
)
def test_coordinator_that_wakes_after_sqlite_was_released_alone(
    replicating: TestPair, zygote: Zygote, point: Failpoint, tmp_path: Path
) -> None:
    """The recovering process could not ask PostgreSQL, whose record still names the attempt.

    Only the mark on SQLite's own row keeps the sleeper from promoting a side that misses what SQLite has
    taken since.
    """
    with _asleep(zygote, replicating, Side.POSTGRES, point, tmp_path) as said:
        replicating.lite.execute("UPDATE st_control SET attempt_deadline = 0")
        assert replicating.recover(_cut_off(replicating)) is Recovered.RELEASED
        replicating.lite.execute("UPDATE item SET qty = 4711 WHERE id = 1")
        rows = replicating.contents(Side.SQLITE)
    assert said[0] == StaleAttempt.__name__
    assert replicating.recover() is Recovered.NOTHING
    _assert_whole(replicating, Side.SQLITE, rows)


def test_sqlite_is_not_released_alone_once_the_commit_may_come(
    replicating: TestPair, zygote: Zygote, tmp_path: Path
) -> None:
    with _asleep(zygote, replicating, Side.POSTGRES, Failpoint.SWITCH_COMMITTING, tmp_path) as said:
        replicating.lite.execute("UPDATE st_control SET attempt_deadline = 0")
        assert replicating.recover(_cut_off(replicating)) is Recovered.UNKNOWN
        assert replicating.writable_sides() == set()
    assert said[0] == "Moved"
    assert replicating.writable_sides() == {Side.POSTGRES}
    replicating.assert_same()


def test_coordinator_that_wakes_after_its_commit_was_followed(
    pair: TestPair, primary: Side, zygote: Zygote, acknowledged: Any, tmp_path: Path
) -> None:
    with _asleep(zygote, pair, primary.other, Failpoint.SWITCH_COMMITTED, tmp_path) as said:
        assert pair.recover() is Recovered.FOLLOWED
    assert said[0] == "Moved"
    _assert_whole(pair, primary.other, acknowledged)


def test_two_coordinators_at_once(
    pair: TestPair, primary: Side, zygote: Zygote, acknowledged: Any, tmp_path: Path
) -> None:
    with _asleep(zygote, pair, primary.other, Failpoint.SWITCH_BEGUN, tmp_path) as said:
        second = pair.move(primary.other)
        assert isinstance(second, Aborted)
        assert "another attempt" in second.reason
    assert said[0] == "Moved"
    assert pair.epochs()[0] == (2 if primary is Side.SQLITE else 3)
    _assert_whole(pair, primary.other, acknowledged)


def test_many_recoverers_at_once(pair: TestPair, primary: Side, zygote: Zygote, acknowledged: Any) -> None:
    assert zygote.run("move", pair, primary.other, failpoints="switch.checked=kill") == -SIGKILL
    pair.expire_attempt()
    children = [zygote.start("recover", pair) for _ in range(4)]
    assert [child.wait() for child in children] == [0, 0, 0, 0]
    assert pair.recover() is Recovered.NOTHING
    _assert_whole(pair, primary, acknowledged)


def test_pause_budget_exceeded(pair: TestPair, primary: Side, acknowledged: Any) -> None:
    with arm(Failpoint.SWITCH_FENCED, "sleep:0.06"):
        outcome = pair.move(primary.other, max_pause_ms=50)
    assert isinstance(outcome, Aborted)
    assert outcome.retryable
    assert outcome.pause_ms < 2_000
    _assert_whole(pair, primary, acknowledged)


def test_a_table_lock_inside_the_fence_does_not_outlast_the_budget(replicating: TestPair) -> None:
    """VACUUM and ANALYZE hold such a lock, and a foreign key cannot be added beside them."""
    holder = replicating.new_pg()
    holder.execute("BEGIN")
    holder.execute("LOCK TABLE pet IN SHARE UPDATE EXCLUSIVE MODE")
    outcome = replicating.move(Side.POSTGRES, max_pause_ms=400)
    assert isinstance(outcome, Aborted)
    assert outcome.pause_ms < 1_500
    assert replicating.writable_sides() == {Side.SQLITE}
    holder.execute("ROLLBACK")
    replicating.moved(Side.POSTGRES)


def test_writers_during_many_switches(pair: TestPair, primary: Side) -> None:
    """Writers on both sides try all the time; each acknowledged increment is there in the end."""
    acknowledged: dict[Side, int] = dict.fromkeys(Side, 0)
    stop = threading.Event()

    def write(side: Side, connection: Any) -> None:
        while not stop.is_set():
            with contextlib.suppress(Exception):
                connection.execute(
                    f"UPDATE counter SET n = n + 1 WHERE id = {1 if side is Side.SQLITE else 2}"
                )
                acknowledged[side] += 1

    pair.app(primary).execute("UPDATE counter SET n = 0")
    coordinator = pair.new_applier()
    connections = {Side.SQLITE: pair.new_lite(), Side.POSTGRES: pair.new_pg()}
    threads = [threading.Thread(target=write, args=item) for item in connections.items()]
    for thread in threads:
        thread.start()
    to = primary
    try:
        moves = 0
        while moves < 4:
            to = to.other
            before = acknowledged[to]
            assert isinstance(pair.move(to, applier=coordinator), Moved)
            moves += 1
            wait_until(lambda to=to, before=before: acknowledged[to] > before + 5)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    pair.drain()
    pair.assert_same()
    counts = dict(pair.app(to).execute("SELECT id, n FROM counter").fetchall())
    assert counts == {1: acknowledged[Side.SQLITE], 2: acknowledged[Side.POSTGRES]}
    assert pair.writable_sides() == {to}
