"""The SQLite file suffers: locked by another process, read-only, no room left, a log left behind by a kill.

A commit that cannot be is told so by a clean error and leaves nothing; what was acknowledged stays.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db.common.errors import NotPrepared
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.switch import coordinator as switch
from app.db.switch import recover as recovering
from app.db.switch.coordinator import Aborted, Moved
from app.db.switch.recover import Recovered
from tests.core.outage.through_proxy import names, settled, write
from tests.support.backends import MakeRuntime
from tests.support.dying.perishable import small_file_system
from tests.support.pairs import TestPair

_HOLD = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
c.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
_LEAVE = """
import os, signal, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
c.execute("PRAGMA journal_mode = WAL")
c.execute("PRAGMA wal_autocheckpoint = 0")
c.execute("INSERT INTO owner (name) VALUES ('committed')")
c.execute("BEGIN IMMEDIATE")
c.execute("INSERT INTO owner (name) VALUES ('never')")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_locked_by_another_process(replicating: TestPair, backend: MakeRuntime) -> None:
    """A commit waits for the busy time-out, then is refused cleanly; reads go on; afterwards all is well."""
    current = backend(replicating, sqlite_busy_timeout_ms=400)
    write("before")
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(replicating.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises((sqlite3.OperationalError, DBAPIError), match="locked"):
            write("refused")
        assert 0.3 < time.monotonic() - started < 4
        with SessionLocal() as session:
            assert session.execute(text("SELECT count(*) FROM owner WHERE name = 'before'")).scalar() == 1
        holder.stdin.close()
    write("after")
    settled(current, replicating, "after")
    assert "refused" not in names(replicating, Side.SQLITE)


def test_locked_as_shadow_apply_waits_and_commits_go_on(promoted: TestPair, backend: MakeRuntime) -> None:
    current = backend(promoted, wanted=Side.POSTGRES, sqlite_busy_timeout_ms=200, dual_write_timeout_ms=1_000)
    write("before")
    stranger = promoted.new_lite()
    stranger.execute("BEGIN IMMEDIATE")
    for n in range(10):
        write(f"away {n:02d}")
    assert current.replicator.health().degraded
    stranger.execute("ROLLBACK")
    settled(current, promoted, "away 09")


def test_a_log_left_behind_by_a_killed_process(replicating: TestPair, backend: MakeRuntime) -> None:
    """What it had committed is there and is applied; what it had not is nowhere."""
    current = backend(replicating)
    done = subprocess.run([sys.executable, "-c", _LEAVE, str(replicating.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    write("after")
    settled(current, replicating, "after")
    held = names(replicating, Side.POSTGRES)
    assert "committed" in held
    assert "never" not in held


def test_file_that_cannot_be_written(replicating: TestPair, backend: MakeRuntime) -> None:
    """The same error as for a read-only file, which does not stop root: query_only."""
    current = backend(replicating, dual_write="async")
    write("before")
    engine = current.engine(Side.SQLITE)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        with pytest.raises(DBAPIError, match="readonly"):
            connection.exec_driver_sql("INSERT INTO owner (name) VALUES ('refused')")
        connection.exec_driver_sql("PRAGMA query_only = OFF")
    write("after")
    settled(current, replicating, "after")
    assert "refused" not in names(replicating, Side.SQLITE)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_file_system(tmp_path / "disk", "size=4m") as mount:
        yield mount


def test_disk_full(replicating: TestPair, small_disk: Path, backend: MakeRuntime) -> None:
    """The transaction that found no room is gone as a whole; the ones before and after are not."""
    replicating.lite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    replicating.close()
    moved = TestPair(small_disk / "app.db", replicating.url)
    moved.path.write_bytes(replicating.path.read_bytes())
    current = backend(moved)
    write("before")
    free = os.statvfs(small_disk)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - 200_000))
    with pytest.raises(DBAPIError, match="full"), SessionLocal() as session:
        session.execute(text("INSERT INTO owner (name) VALUES ('refused')"))
        session.execute(text("INSERT INTO kinds (bl) VALUES (:bl)"), {"bl": os.urandom(2_000_000)})
        session.commit()
    ballast.unlink()
    write("after")
    settled(current, moved, "after")
    assert "refused" not in names(moved, Side.SQLITE)
    moved.close()


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0], ids=["back", "forth"])
def test_the_clock_jumps_inside_a_switch(
    pair: TestPair, primary: Side, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """At worst the attempt is ended by a recoverer that takes it for dead; never two primaries, nothing lost."""
    real = time.time

    class Shifted:
        def __getattr__(self, name: str) -> object:
            return getattr(time, name)

        @staticmethod
        def time() -> float:
            return real() + jump_s

    def jump() -> None:
        for module in (switch, recovering):
            monkeypatch.setattr(module, "time", Shifted())
        pair.recover(pair.new_stores())

    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    with arm(Failpoint.SWITCH_DRAINED, jump):
        outcome = pair.move(primary.other)
    assert isinstance(outcome, Moved | Aborted)
    monkeypatch.undo()
    pair.expire_attempt()
    pair.recover()
    expected = primary.other if isinstance(outcome, Moved) else primary
    assert pair.writable_sides() == {expected}
    pair.drain()
    pair.assert_same()


@pytest.mark.parametrize("ahead_s", [-86_400, 86_400], ids=["sqlite", "both"])
def test_a_dead_attempt_s_deadline_that_is_far_ahead_holds_no_writers(
    replicating: TestPair, ahead_s: int
) -> None:
    """SQLite's copy does not matter, and one on PostgreSQL that no attempt can have is of a clock that was set back."""
    dead = "UPDATE st_control SET attempt = 'dead', attempt_state = 'draining', attempt_deadline = "
    replicating.lite.execute(f"{dead} {time.time() + 86_400}, writable = 0")
    replicating.pg.execute(f"{dead} {time.time() + ahead_s}")
    assert replicating.recover() is Recovered.ENDED
    assert replicating.writable_sides() == {Side.SQLITE}


def test_an_older_file_that_was_put_back_stops_apply(replicating: TestPair) -> None:
    """Its log would give numbers out again that count as applied."""
    replicating.lite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    older = replicating.path.read_bytes()
    replicating.lite.execute("UPDATE item SET qty = qty + 1")
    replicating.drain()
    replicating.close()
    for suffix in ("-wal", "-shm"):
        replicating.path.with_name(replicating.path.name + suffix).unlink(missing_ok=True)
    replicating.path.write_bytes(older)
    with pytest.raises(NotPrepared, match="older SQLite file"):
        replicating.applier.round()
