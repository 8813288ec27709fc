"""A process that has used sessions forks, and the child writes: everything that a fork breaks is made anew."""

from __future__ import annotations

import os
import select
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from app.db.common.errors import ForkedInUse
from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.session import runtime as runtimes
from app.db.session.routed import RoutedSession
from app.db.session.runtime import Runtime
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair, wait_until

SILENCE_LIMIT_S = 30.0


def write(name: str) -> None:
    with SessionLocal() as session:
        session.add(Owner(name=name))
        session.commit()


def write_by_either(name: str, current: Runtime) -> None:
    """By `SessionLocal`, or, if that is refused, by a session such as `install` makes: it keeps its runtime."""
    try:
        write(name)
    except ForkedInUse:
        RoutedSession(pair=current)


def names(pair: TestPair, side: Side) -> set[str]:
    return {row[0] for row in pair.app(side).execute("SELECT name FROM owner").fetchall()}


def in_a_child(work: Callable[[], object]) -> str:
    """What came of some work in a forked child: "done" or the error.

    Raises:
        AssertionError: the child hangs.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of any fork beside a thread
        pid = os.fork()
    if pid == 0:
        try:
            work()
            told = "done"
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], SILENCE_LIMIT_S)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        told = os.read(reader, 4096).decode() if ready else "the child hangs"
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
    assert told != "the child hangs"
    return told


def _both_wrote(current: Runtime, pair: TestPair, primary: Side) -> None:
    write("parent afterwards")
    assert {"parent", "child", "child again", "parent afterwards"} <= names(pair, primary)
    pair.drain()
    pair.assert_same()
    wait_until(lambda: current.replicator.health().running)


@pytest.mark.parametrize("mode", list(DualWrite))
def test_parent_and_child_both_write(
    pair: TestPair, primary: Side, mode: DualWrite, backend: MakeRuntime
) -> None:
    current = backend(pair, wanted=primary, dual_write=mode)
    write("parent")
    assert in_a_child(lambda: (write("child"), write("child again"))) == "done"
    _both_wrote(current, pair, primary)


def test_in_single_mode_too(pair: TestPair, primary: Side, backend: MakeRuntime) -> None:
    backend(pair, wanted=primary, shadow=False)
    write("parent")
    assert in_a_child(lambda: write("child")) == "done"
    write("parent afterwards")
    assert {"parent", "child", "parent afterwards"} <= names(pair, primary)


@contextmanager
def another_thread_holds(current: Runtime) -> Iterator[None]:
    """All the locks of the session layer are taken by a thread that is not in the child."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        locks = (
            runtimes._making,
            current._lock,
            current.write_turn._line,
            current.router._line,
            current.replicator._rounds,
            current.replicator._changed,
        )
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            release.wait(SILENCE_LIMIT_S)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(SILENCE_LIMIT_S)
    try:
        yield
    finally:
        release.set()
        thread.join()


@pytest.mark.parametrize("mode", list(DualWrite))
def test_locks_that_another_thread_held_at_the_fork_are_free_in_the_child(
    pair: TestPair, primary: Side, mode: DualWrite, backend: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "FORK_PATIENCE_S", 0.05)
    current = backend(pair, wanted=primary, dual_write=mode)
    write("parent")
    current.replicator.stop()
    with another_thread_holds(current):
        assert in_a_child(lambda: (write("child"), write("child again"))) == "done"
    current.replicator.start()
    _both_wrote(current, pair, primary)


@pytest.mark.parametrize("mode", list(DualWrite))
def test_a_transaction_of_another_thread_that_is_open_at_the_fork(
    pair: TestPair, primary: Side, mode: DualWrite, backend: MakeRuntime
) -> None:
    """The child would inherit SQLite's idea of its locks, so it is refused there; on PostgreSQL it may go on."""
    current = backend(pair, wanted=primary, dual_write=mode)
    write("parent")
    held, release = threading.Event(), threading.Event()

    def transaction() -> None:
        with SessionLocal() as session:
            session.add(Owner(name="child again"))  # stands in for what the child could not write
            session.flush()
            held.set()
            release.wait(SILENCE_LIMIT_S)
            session.commit()

    thread = threading.Thread(target=transaction)
    thread.start()
    assert held.wait(SILENCE_LIMIT_S)
    told = in_a_child(lambda: write_by_either("child", current))
    release.set()
    thread.join()
    if primary is Side.SQLITE:
        assert told.startswith("ForkedInUse: this process was forked while another thread")
        write("child")
    else:
        assert told == "done"
    _both_wrote(current, pair, primary)


def test_a_fork_waits_for_a_transaction_that_is_being_announced(
    promoted: TestPair, backend: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody begins to use SQLite, the shadow, between the look of the fork and the fork."""
    current = backend(promoted, wanted=Side.POSTGRES, dual_write="strict")
    write("parent")
    announced, asked = threading.Event(), threading.Event()
    rest = current.strict.rest

    def resting(patience: float) -> bool:
        asked.set()
        return rest(patience)

    def stay() -> None:
        announced.set()
        assert asked.wait(SILENCE_LIMIT_S)  # the fork has begun

    monkeypatch.setattr(current.strict, "rest", resting)

    def others(who: str) -> None:
        for n in range(20):
            write(f"{who} {n}")

    threads = [threading.Thread(target=others, args=(who,)) for who in ("one", "two")]
    with arm(Failpoint.STRICT_ANNOUNCED, stay):
        threads[0].start()
        assert announced.wait(SILENCE_LIMIT_S)
    threads[1].start()
    for name in ("child", "child again"):
        assert in_a_child(lambda name=name: write(name)) == "done"
    for thread in threads:
        thread.join()
    _both_wrote(current, promoted, Side.POSTGRES)
