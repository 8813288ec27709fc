"""Many transactions held at a raised fence: one of them looks, all go on, none waits longer than it may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select, update

from app.db.common.errors import PrimaryUnavailable
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.session.hold import Router
from app.db.switch.coordinator import Aborted, Moved
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair, wait_until

HELD = 20
AT_THE_GATE = 15  # of those; SQLAlchemy's pool for SQLite has no connections for more


class Watched:
    """What goes on at the gate: who waits there, who looks, and how many look at once."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self.looks: list[int] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        hold, is_over = Router.hold, Router._is_over

        def watched_hold(router: Router, *arguments: object) -> None:
            with self._lock:
                self.waiting += 1
            try:
                hold(router, *arguments)
            finally:
                with self._lock:
                    self.waiting -= 1

        def watched_look(router: Router, *arguments: object) -> bool:
            with self._lock:
                self.looks.append(threading.get_ident())
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                return is_over(router, *arguments)
            finally:
                with self._lock:
                    self.at_once -= 1

        patch.setattr(Router, "hold", watched_hold)
        patch.setattr(Router, "_is_over", watched_look)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def write(name: str) -> None:
    with SessionLocal() as session:
        session.add(Owner(name=name))
        session.commit()


def names(pair: TestPair, side: Side) -> set[str]:
    return {row[0] for row in pair.app(side).execute("SELECT name FROM owner").fetchall()}


class Writers:
    """Threads that write one row each."""

    def __init__(self, count: int) -> None:
        self.names = {f"held {n}" for n in range(count)}
        self.errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._write, args=(name,)) for name in sorted(self.names)]
        for thread in self._threads:
            thread.start()

    def _write(self, name: str) -> None:
        try:
            write(name)
        except Exception as error:  # whatever it is, the test looks at it
            self.errors.append(error)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)


@contextmanager
def fence_up(pair: TestPair, to: Side, max_pause_ms: int) -> Iterator[Callable[[], Moved | Aborted]]:
    """A switch that stands still with the fence up; the function lets it go on and tells what came of it."""
    reached, go_on = threading.Event(), threading.Event()
    outcome: list[Moved | Aborted] = []

    def stop() -> None:
        reached.set()
        assert go_on.wait(30)

    def switch() -> None:
        with arm(Failpoint.SWITCH_FENCED, stop):
            outcome.append(pair.move(to, max_pause_ms=max_pause_ms))

    coordinator = threading.Thread(target=switch)
    coordinator.start()
    assert reached.wait(20)

    def finish() -> Moved | Aborted:
        go_on.set()
        coordinator.join(30)
        return outcome[0]

    try:
        yield finish
    finally:
        finish()


@pytest.mark.parametrize("ends", ["moved", "aborted"])
def test_of_twenty_held_transactions_one_looks_and_all_go_on(
    pair: TestPair, primary: Side, backend: MakeRuntime, watched: Watched, ends: str
) -> None:
    backend(pair, wanted=primary, cutover_hold_ms=30_000)
    pause_ms = 30_000 if ends == "moved" else 50
    with fence_up(pair, primary.other, pause_ms) as finish:
        writers = Writers(HELD)
        wait_until(lambda: watched.waiting >= AT_THE_GATE)
        seen = len(watched.looks)
        wait_until(lambda: len(watched.looks) >= seen + 50)
        assert len(set(watched.looks)) == 1
        outcome = finish()
        writers.join()
    assert isinstance(outcome, Moved if ends == "moved" else Aborted), outcome
    assert writers.errors == []
    assert watched.most_at_once == 1
    assert len(set(watched.looks)) >= AT_THE_GATE
    assert writers.names <= names(pair, primary.other if ends == "moved" else primary)
    pair.drain()
    pair.assert_same()


def test_the_one_that_looks_gives_up_and_the_next_one_looks(
    pair: TestPair, primary: Side, backend: MakeRuntime, watched: Watched
) -> None:
    """Nobody is held longer for having stood behind another one, and the line is left usable."""
    backend(pair, wanted=primary, cutover_hold_ms=400, dual_write="off")
    pair.app(primary).execute("UPDATE st_control SET writable = false")
    began = time.monotonic()
    writers = Writers(HELD)
    writers.join()
    assert 0.39 < time.monotonic() - began < 4
    assert {type(error) for error in writers.errors} == {PrimaryUnavailable}
    assert len(writers.errors) == HELD
    pair.app(primary).execute("UPDATE st_control SET writable = true")
    write("after")
    assert names(pair, primary) & {"after", *writers.names} == {"after"}


def test_a_transaction_that_is_refused_twice_is_held_once(
    replicating: TestPair, backend: MakeRuntime, watched: Watched
) -> None:
    """Refused by SQLite, then by PostgreSQL, for which it does not wait a second time as long."""
    backend(replicating, cutover_hold_ms=2_000, dual_write="off")
    replicating.lite.execute("UPDATE st_control SET writable = 0")
    began = time.monotonic()
    writers = Writers(1)
    wait_until(lambda: time.monotonic() - began > 1.5)
    assert set(watched.looks), "held at SQLite's fence"
    for side in (Side.POSTGRES, Side.SQLITE):
        replicating.app(side).execute("UPDATE st_control SET primary_side = 'postgres', writable = false")
    writers.join()
    assert 1.99 < time.monotonic() - began < 3.2
    assert [type(error) for error in writers.errors] == [PrimaryUnavailable]
    assert "postgres has taken no writes" in str(writers.errors[0])


@pytest.mark.parametrize("pause_ms", [30_000, 50], ids=["moved", "aborted"])
def test_a_result_that_is_streamed_from_the_server_is_read_to_its_end(
    promoted: TestPair, backend: MakeRuntime, watched: Watched, pause_ms: int
) -> None:
    """The fence goes up between two of its rows, and the first write of the transaction waits."""
    backend(promoted, wanted=Side.POSTGRES, cutover_hold_ms=20_000)
    promoted.pg.execute("INSERT INTO owner (id) SELECT generate_series(101, 108)")
    promoted.drain()
    reached = threading.Event()
    outcome: list[Moved | Aborted] = []

    def hold() -> None:
        fenced = time.monotonic()
        reached.set()
        wait_until(lambda: watched.waiting and time.monotonic() - fenced > 0.1)  # longer than the short pause

    def switch() -> None:
        with arm(Failpoint.SWITCH_FENCED, hold):
            outcome.append(promoted.move(Side.SQLITE, max_pause_ms=pause_ms))

    coordinator = threading.Thread(target=switch)
    rows = select(Owner.id).where(Owner.id > 100).order_by(Owner.id).execution_options(yield_per=2)
    with SessionLocal() as session, session.scalars(rows) as stream:
        for number in stream:
            if number == 101:
                coordinator.start()
                assert reached.wait(20)
            session.execute(update(Owner).where(Owner.id == number).values(name=f"new {number}"))
        session.commit()
    coordinator.join()
    assert isinstance(outcome[0], Moved if pause_ms > 50 else Aborted), outcome
    side = Side.SQLITE if pause_ms > 50 else Side.POSTGRES
    written = promoted.app(side).execute("SELECT count(*) FROM owner WHERE name LIKE 'new %'").fetchone()
    assert tuple(written) == (8,)
