"""The line in front of SQLite's write lock: one asks, the others wait; nobody can block it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import ShimSettings
from app.db.session import SessionLocal
from app.db.session.engines import make_engine
from app.db.session.routed import begin_write
from app.db.sides.sqlite import turn as write_turn
from app.db.sides.sqlite.turn import WriteTurn, turn_at
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair, wait_until

PATIENT_MS = 30_000


class Asked:
    """Which threads asked for the lock, one entry each time."""

    def __init__(self) -> None:
        self.by: list[int] = []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    seen = Asked()
    original = WriteTurn._try

    def noted(turn: WriteTurn, connection: sqlite3.Connection, *, last: bool) -> bool:
        seen.by.append(threading.get_ident())
        return original(turn, connection, last=last)

    monkeypatch.setattr(WriteTurn, "_try", noted)
    return seen


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting thread finds out by being woken, or not within the time of a test."""
    monkeypatch.setattr(write_turn, "_LOOK_S", (60.0, 60.0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "line.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (n INTEGER)")
    connection.close()
    return path


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def held(path: Path) -> Iterator[Callable[[], None]]:
    """The write lock in the hands of a stranger, who tells nobody when it lets go."""
    with opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield lambda: connection.execute("COMMIT") and None


def write_in_turn(path: Path, timeout_ms: int = PATIENT_MS) -> None:
    turn = turn_at(path)
    with opened(path) as connection:
        turn.begin(connection, timeout_ms)
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("COMMIT")
        turn.let_go()


def rows(path: Path) -> int:
    with opened(path) as connection:
        return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])


def started(count: int, work: Callable[[], None], errors: list[Exception]) -> list[threading.Thread]:
    """So many threads at work; `errors` takes what they raise."""
    ready = threading.Barrier(count + 1, timeout=20)

    def run() -> None:
        ready.wait()
        try:
            work()
        except Exception as error:  # whatever it is, the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    return threads


def joined(threads: list[threading.Thread], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads)


def test_of_twenty_that_wait_one_asks_and_all_get_it(file: Path, asked: Asked) -> None:
    errors: list[Exception] = []
    with held(file) as let_go:
        threads = started(20, lambda: write_in_turn(file), errors)
        wait_until(lambda: len(asked.by) >= 100)
        assert len(set(asked.by)) == 1
        let_go()
        joined(threads)
    assert errors == []
    assert len(set(asked.by)) == 20
    assert rows(file) == 20


def test_a_stranger_s_lock_is_looked_for_about_every_millisecond(file: Path, asked: Asked) -> None:
    """Often enough not to lose time, seldom enough to leave the processor to who holds it."""
    with held(file) as let_go:
        threads = started(1, lambda: write_in_turn(file), [])
        wait_until(lambda: asked.by)
        before, began = len(asked.by), time.monotonic()
        wait_until(lambda: len(asked.by) >= before + 100)
        assert time.monotonic() - began > 100 * write_turn._LOOK_S[0]
        let_go()
        joined(threads)


def test_the_time_out_is_an_error_and_leaves_the_line_usable(file: Path) -> None:
    errors: list[Exception] = []
    with held(file):
        began = time.monotonic()
        joined(started(5, lambda: write_in_turn(file, timeout_ms=200), errors))
        assert 0.19 < time.monotonic() - began < 3, "each waits for the whole time-out, none for two"
        assert [getattr(error, "sqlite_errorname", error) for error in errors] == ["SQLITE_BUSY"] * 5
    write_in_turn(file, timeout_ms=0)
    assert rows(file) == 1


def test_who_has_waited_in_line_for_its_whole_time_tries_once(file: Path) -> None:
    """The one in front may be waiting for long; the lock may have come free meanwhile."""
    turn = turn_at(file)
    with turn._line:
        write_in_turn(file, timeout_ms=50)
    assert rows(file) == 1


def test_the_connection_s_own_patience_is_as_it_was_asked_for(file: Path) -> None:
    with opened(file) as connection:
        turn_at(file).begin(connection, 1234)
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (1234,)
        connection.execute("ROLLBACK")
        with held(file), pytest.raises(sqlite3.OperationalError):
            turn_at(file).begin(connection, 10)
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (10,)


@pytest.mark.usefixtures("nobody_looks")
def test_who_waits_is_woken(file: Path, asked: Asked) -> None:
    turn = turn_at(file)
    with opened(file) as connection:
        turn.begin(connection, PATIENT_MS)
        before = len(asked.by)
        threads = started(3, lambda: write_in_turn(file), [])
        wait_until(lambda: len(asked.by) > before)
        connection.execute("COMMIT")
        turn.let_go()
        joined(threads, seconds=10)
    assert rows(file) == 3


def test_a_thread_that_dies_in_its_transaction_says_nothing_and_blocks_nobody(file: Path) -> None:
    def dies() -> None:
        with opened(file) as connection:
            turn_at(file).begin(connection, PATIENT_MS)
            connection.execute("INSERT INTO t VALUES (1)")
            raise RuntimeError("in the middle")

    errors: list[Exception] = []
    joined(started(3, dies, errors) + started(3, lambda: write_in_turn(file), errors))
    assert [str(error) for error in errors] == ["in the middle"] * 3
    assert rows(file) == 3


def test_a_thread_that_dies_in_the_line_blocks_nobody(file: Path) -> None:
    with opened(file) as connection:
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        turn_at(file).begin(connection, PATIENT_MS)
    joined(started(1, lambda: write_in_turn(file), []))
    assert rows(file) == 1


def test_one_line_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert turn_at(Path("a.db")) is turn_at(tmp_path / "a.db")
    assert turn_at(Path("a.db")) is not turn_at(Path("b.db"))


def test_a_database_without_a_pair_has_the_same_line(file: Path, asked: Asked) -> None:
    """A plain statement, a transaction that begins as a writer, and one that waits in vain."""
    engine = make_engine(make_url(f"sqlite:///{file}"), ShimSettings())
    with Session(engine) as session:
        session.execute(text("INSERT INTO t VALUES (1)"))
        assert len(asked.by) == 1
        session.commit()
        begin_write(session, 5.0)
        assert len(asked.by) == 2
        with Session(engine) as other:
            usual = other.execute(text("PRAGMA busy_timeout")).scalar_one()
            with pytest.raises(OperationalError):
                begin_write(other, 0.05)
            assert other.execute(text("PRAGMA busy_timeout")).scalar_one() == usual
    engine.dispose()


def write(name: str) -> None:
    with SessionLocal() as session:
        session.add(Owner(name=name))
        session.commit()


def fail_in_the_middle() -> None:
    with SessionLocal() as session:
        session.add(Owner(name="never"))
        session.flush()
        raise RuntimeError("in the middle")


def roll_back() -> None:
    with SessionLocal() as session:
        session.add(Owner(name="never"))
        session.flush()
        session.rollback()


@pytest.mark.usefixtures("nobody_looks")
@pytest.mark.parametrize(
    "ends", [lambda: write("first"), roll_back, fail_in_the_middle], ids=["commit", "rollback", "error"]
)
def test_however_a_session_ends_the_next_one_is_woken(
    replicating: TestPair, backend: MakeRuntime, asked: Asked, ends: Callable[[], None]
) -> None:
    """The first holds the lock until the second has been seen to wait for it."""
    backend(replicating, dual_write="off")
    holds, go_on = threading.Event(), threading.Event()

    def wait_once(session: Session, context: object) -> None:
        if not holds.is_set():
            holds.set()
            assert go_on.wait(20)

    event.listen(Session, "after_flush", wait_once)
    errors: list[Exception] = []
    try:
        threads = started(1, ends, errors)
        assert holds.wait(20)
        before = len(asked.by)
        threads += started(1, lambda: write("second"), errors)
        wait_until(lambda: len(asked.by) > before)
        go_on.set()
        joined(threads, seconds=10)
    finally:
        event.remove(Session, "after_flush", wait_once)
    assert [str(error) for error in errors] in ([], ["in the middle"])
    assert replicating.lite.execute("SELECT 1 FROM owner WHERE name = 'second'").fetchone()


@pytest.mark.usefixtures("nobody_looks")
def test_the_lock_goes_on_when_the_primary_has_it_not_when_the_shadow_has_it_too(
    replicating: TestPair, backend: MakeRuntime, asked: Asked
) -> None:
    backend(replicating, dual_write_timeout_ms=20_000)
    in_round, go_on = threading.Event(), threading.Event()

    def stop() -> None:
        in_round.set()
        assert go_on.wait(20)

    errors: list[Exception] = []
    with arm(Failpoint.APPLY_READ, stop):
        threads = started(1, lambda: write("first"), errors)
        assert in_round.wait(20)
        threads += started(1, lambda: write("second"), errors)
        wait_until(lambda: replicating.lite.execute("SELECT 1 FROM owner WHERE name = 'second'").fetchone())
        assert all(thread.is_alive() for thread in threads), "both wait for the shadow"
        go_on.set()
        joined(threads)
    assert errors == []
    replicating.assert_same()


@pytest.mark.usefixtures("nobody_looks")
def test_an_engine_without_a_pair_tells_who_waits_that_it_is_done(file: Path) -> None:
    engine = make_engine(make_url(f"sqlite:///{file}"), ShimSettings(shadow_database_url=""))

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO t VALUES (2)"))

    second = threading.Thread(target=write, daemon=True)
    with engine.connect() as first:
        first.execute(text("INSERT INTO t VALUES (1)"))
        second.start()
        wait_until(turn_at(file)._line.locked)
        first.commit()
    second.join(20)
    assert not second.is_alive()
    engine.dispose()
