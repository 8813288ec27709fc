"""Sync commits share rounds and each has what it waited for; async processes leave apply to one of them, at a pace."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.db.apply.outcome import SWITCHED, Round
from app.db.apply.round import Applier
from app.db.apply.small import SMALL
from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import DualWrite, ShimSettings
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.session.replicator import Replicator
from app.db.session.replicator import follower as replicator
from tests.core.modes.chosen import in_modes
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair, wait_until

THREAD = "st-replicator"


class Rounds:
    """Every round of this process that carried something: (its applier, the thread, its entries)."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.carried: list[tuple[int, str, int]] = []
        original = Applier.round

        def noted(applier: Applier, **options: Any) -> Any:
            outcome = original(applier, **options)
            if isinstance(outcome, Round) and outcome.changes:
                self.carried.append((id(applier), threading.current_thread().name, outcome.changes))
            return outcome

        patch.setattr(Applier, "round", noted)

    def by_applier(self) -> Counter[int]:
        return Counter(applier for applier, _, _ in self.carried)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    return Rounds(monkeypatch)


@pytest.fixture
def thread_waits_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background thread does not look by itself within the time of a test."""
    monkeypatch.setattr(replicator, "POLL_S", 60.0)
    monkeypatch.setattr(replicator, "REST_S", 60.0)


def write(*names: str) -> None:
    with SessionLocal() as session:
        session.add_all([Owner(name=name) for name in names])
        session.commit()


def has(pair: TestPair, side: Side, *names: str) -> bool:
    """By a connection of its own: several threads ask."""
    connection = pair.new_lite() if side is Side.SQLITE else pair.new_pg()
    found = {row[0] for row in connection.execute("SELECT name FROM owner").fetchall()}
    connection.close()
    return found >= set(names)


def together(count: int, work: Callable[[int], None]) -> tuple[list[threading.Thread], list[BaseException]]:
    errors: list[BaseException] = []

    def run(n: int) -> None:
        try:
            work(n)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,), name=f"writer {n}") for n in range(count)]
    for thread in threads:
        thread.start()
    return threads, errors


@pytest.mark.usefixtures("thread_waits_to_be_asked")
def test_commits_that_wait_for_a_round_share_the_next_one(
    pair: TestPair, primary: Side, backend: MakeRuntime, rounds: Rounds
) -> None:
    count = 12
    current = backend(pair, wanted=primary, dual_write_timeout_ms=20_000)
    write("before")
    # The thread's own first rounds are over: nobody has asked it for another one.
    wait_until(lambda: current.replicator.health().phase == "replicating")
    wait_until(lambda: not current.replicator._asked.is_set())
    with current.replicator._rounds:
        rounds.carried.clear()
    in_round, go_on = threading.Event(), threading.Event()
    had: list[bool] = []

    def stop_once() -> None:
        if not in_round.is_set():
            in_round.set()
            assert go_on.wait(20)

    def work(n: int) -> None:
        write(f"shared {n}")
        had.append(has(pair, primary.other, f"shared {n}"))

    with arm(Failpoint.APPLY_READ, stop_once):
        first, errors = together(1, lambda n: write("first"))
        assert in_round.wait(20)
        if primary is Side.POSTGRES:  # the round holds SQLite, which is the shadow
            assert not has(pair, primary.other, "first")
        others, more_errors = together(count, work)
        wait_until(lambda: has(pair, primary, *(f"shared {n}" for n in range(count))))
        wait_until(lambda: current.replicator._commits >= count + 1)
        assert had == [], "a commit returned before the shadow had it"
        go_on.set()
        for thread in first + others:
            thread.join(30)
    assert errors == more_errors == []
    assert had == [True] * count
    assert all(name.startswith("writer") for _, name, _ in rounds.carried)
    assert [entries for _, _, entries in rounds.carried] == [1, count]
    assert not current.replicator.health().degraded


@pytest.mark.usefixtures("thread_waits_to_be_asked")
def test_a_large_backlog_is_left_to_the_thread_and_waited_for(
    pair: TestPair, primary: Side, backend: MakeRuntime, rounds: Rounds
) -> None:
    backend(pair, wanted=primary, dual_write_timeout_ms=20_000)
    names = [f"one of many {n}" for n in range(SMALL + 1)]
    write(*names)
    assert has(pair, primary.other, *names)
    assert [(name, entries) for _, name, entries in rounds.carried] == [(THREAD, SMALL + 1)]
    write("one more")
    assert has(pair, primary.other, "one more")
    assert rounds.carried[-1][1] == threading.current_thread().name


@in_modes(DualWrite.SYNC)  # the others have no round between the primary's commit and the caller's answer
@pytest.mark.usefixtures("thread_waits_to_be_asked")  # or it may be there before the commit
def test_an_unexpected_error_in_a_round_does_not_reach_the_caller(
    pair: TestPair, primary: Side, backend: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is committed; the caller must hear that."""
    current = backend(pair, wanted=primary)
    write("before")
    wait_until(lambda: has(pair, primary.other, "before") and not current.replicator.health().degraded)
    original = Applier.round
    failed = threading.Event()

    def fails(applier: Applier, **options: Any) -> Any:
        if threading.current_thread().name != THREAD:
            failed.set()
            raise AssertionError("a bug in apply")
        return original(applier, **options)

    monkeypatch.setattr(Applier, "round", fails)
    began = time.monotonic()
    write("committed")
    assert time.monotonic() - began < 4, "not waited for: the time-out is 5 s"
    assert failed.is_set()
    assert current.replicator.health().degraded
    monkeypatch.undo()
    current.replicator._poll = replicator.POLL_S
    current.replicator._asked.set()
    wait_until(lambda: has(pair, primary.other, "committed") and not current.replicator.health().degraded)
    write("after")
    assert has(pair, primary.other, "after")
    pair.assert_same()


def test_a_commit_right_after_a_switch_waits_for_the_shadow(
    pair: TestPair, primary: Side, backend: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first round after a switch finds that the sides have changed; that is no reason to go on alone."""
    backend(pair, wanted=primary)
    write("before")
    wait_until(lambda: has(pair, primary.other, "before"))
    original, first = Applier.round, iter([SWITCHED])
    monkeypatch.setattr(Applier, "round", lambda applier, **o: next(first, None) or original(applier, **o))
    write("after")
    assert has(pair, primary.other, "after")


def test_a_standing_round_is_not_waited_for(
    pair: TestPair, primary: Side, backend: MakeRuntime, rounds: Rounds
) -> None:
    current = backend(pair, wanted=primary, dual_write_timeout_ms=20_000)
    write("before")
    pair.app(primary.other).execute("UPDATE st_control SET paused = true")
    began = time.monotonic()
    threads, errors = together(8, lambda n: write(f"paused {n}"))
    for thread in threads:
        thread.join(30)
    assert time.monotonic() - began < 5
    assert errors == []
    assert not current.replicator.health().degraded
    pair.app(primary.other).execute("UPDATE st_control SET paused = false")
    wait_until(lambda: has(pair, primary.other, *(f"paused {n}" for n in range(8))))


@pytest.fixture
def processes(pair: TestPair) -> Iterator[list[Replicator]]:
    """Two processes of a backend in async mode, as far as apply is concerned."""
    settings = ShimSettings(dual_write="async", shadow_database_url=pair.url)
    made = [Replicator(pair.pair, settings, lambda: None) for _ in range(2)]
    yield made
    for one in made:
        one.stop()


def test_one_process_applies_the_other_rests_and_takes_over(
    pair: TestPair, primary: Side, processes: list[Replicator], rounds: Rounds
) -> None:
    for process in processes:
        process.start()
    wait_until(lambda: all(process.health().phase for process in processes))
    stop = threading.Event()
    mark = "?" if primary is Side.SQLITE else "%s"
    own = pair.new_lite(timeout=20) if primary is Side.SQLITE else pair.new_pg()

    def steadily() -> None:
        n = 0
        while not stop.wait(0.004):
            n += 1
            own.execute(f"UPDATE counter SET n = {mark} WHERE id = 1", (n,))

    writer = threading.Thread(target=steadily)
    writer.start()
    try:
        wait_until(lambda: len(rounds.carried) > 10)
        rounds.carried.clear()
        wait_until(lambda: len(rounds.carried) > 60)
        counts = rounds.by_applier()
        busy = max(processes, key=lambda process: counts[id(process._applier)])
        resting = processes[busy is processes[0]]
        assert counts[id(resting._applier)] <= 12, counts
        busy.stop()
        rounds.carried.clear()
        began = time.monotonic()
        wait_until(lambda: len(rounds.carried) >= 3)
        assert time.monotonic() - began < 1.5
        assert set(rounds.by_applier()) == {id(resting._applier)}
    finally:
        stop.set()
        writer.join(20)
    end = own.execute("SELECT n FROM counter WHERE id = 1").fetchone()
    select = "SELECT n FROM counter WHERE id = 1"
    wait_until(lambda: pair.app(primary.other).execute(select).fetchone() == end)


def test_async_looks_more_often_while_changes_come_in_slowly(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    current = backend(pair, dual_write="async", wanted=primary)
    numbers = itertools.count()

    def follows_at_once() -> bool:
        write(f"one of few {next(numbers)}")
        return current.replicator._poll == replicator.SOON_S

    wait_until(follows_at_once)
    wait_until(lambda: current.replicator._poll == replicator.POLL_S)


def test_async_leaves_the_time_to_a_process_that_commits_often(
    pair: TestPair, primary: Side, backend: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicator, "OFTEN", 0.001)
    current = backend(pair, dual_write="async", wanted=primary)
    numbers = itertools.count()

    def looks_seldom() -> bool:
        name = f"one of many {next(numbers)}"
        write(name)
        wait_until(lambda: has(pair, primary.other, name))
        return current.replicator._poll >= replicator.POLL_S

    wait_until(lambda: all(looks_seldom() for _ in range(5)))
