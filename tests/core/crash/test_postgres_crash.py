"""PostgreSQL dies while a switch is under way: SQLite goes on alone, or waits for the record, never both.

The server is this module's own, and it dies by SIGQUIT: no shutdown, recovery at the next start.
"""

from __future__ import annotations

import signal

import psycopg
import pytest

from app.db.common.errors import ShadowUnavailable, SwitchError
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.switch.coordinator import Aborted
from app.db.switch.recover import Recovered
from loadtests.stage.embedded import EmbeddedPostgres
from tests.support.pairs import TestPair


def _sqlite_takes_writes(pair: TestPair) -> bool:
    return bool(pair.lite.execute("SELECT writable FROM st_control").fetchone()[0])


@pytest.mark.parametrize("point", [Failpoint.SWITCH_BEGUN, Failpoint.SWITCH_FENCED, Failpoint.SWITCH_DRAINED])
def test_while_draining_sqlite_is_released_alone(
    victim: TestPair, mortal: EmbeddedPostgres, point: Failpoint
) -> None:
    victim.lite.execute("UPDATE item SET qty = qty + 1")
    with arm(point, lambda: mortal.stop(signal.SIGQUIT)):
        outcome = victim.move(Side.POSTGRES)
    assert isinstance(outcome, Aborted)
    assert outcome.retryable
    assert _sqlite_takes_writes(victim)
    victim.lite.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")
    mortal.start()
    victim.expire_attempt()
    assert victim.recover() is Recovered.ENDED
    assert victim.writable_sides() == {Side.SQLITE}
    victim.moved(Side.POSTGRES)
    victim.assert_same()


def test_while_committing_sqlite_waits_for_the_record(victim: TestPair, mortal: EmbeddedPostgres) -> None:
    """Nobody can know whether the commit took place until PostgreSQL answers."""
    with (
        arm(Failpoint.SWITCH_COMMITTING, lambda: mortal.stop(signal.SIGQUIT)),
        pytest.raises(SwitchError, match="outcome is unknown"),
    ):
        victim.move(Side.POSTGRES, max_pause_ms=300)
    assert not _sqlite_takes_writes(victim)
    assert victim.recover() in (Recovered.WAIT, Recovered.UNKNOWN)
    victim.expire_attempt()
    assert victim.recover() is Recovered.UNKNOWN
    assert not _sqlite_takes_writes(victim)
    mortal.start()
    victim.forget_pg()
    victim.expire_attempt()
    assert victim.recover() is Recovered.ENDED
    assert victim.writable_sides() == {Side.SQLITE}
    victim.moved(Side.POSTGRES)
    victim.assert_same()


@pytest.mark.parametrize("to", list(Side))
def test_after_the_commit_the_record_holds(victim: TestPair, mortal: EmbeddedPostgres, to: Side) -> None:
    """The promotion survives the crash, and SQLite, which had not heard of it, follows."""
    if to is Side.SQLITE:
        victim.moved(Side.POSTGRES)
    victim.app(to.other).execute("UPDATE item SET qty = qty + 1")
    rows = victim.contents(to.other)
    with (
        arm(Failpoint.SWITCH_COMMITTED, lambda: mortal.stop(signal.SIGQUIT)),
        pytest.raises(SwitchError, match=f"{to} is primary"),
    ):
        victim.move(to)
    assert not _sqlite_takes_writes(victim)
    mortal.start()
    victim.forget_pg()
    assert victim.recover() is Recovered.FOLLOWED
    assert victim.writable_sides() == {to}
    assert victim.contents(to) == rows
    victim.assert_same()


def test_acknowledgement_of_the_commit_record_is_lost(victim: TestPair) -> None:
    """The record is written and the connection breaks before the answer: the coordinator asks, and has moved."""
    connection = victim.applier.stores.postgres.connection

    class Deaf:
        """Loses the answer to one COMMIT."""

        def __init__(self) -> None:
            self.armed = False

    deaf = Deaf()
    original = victim.applier.stores.postgres.write

    def write() -> object:
        context = original()
        if not deaf.armed:
            return context

        class Lossy:
            def __enter__(self) -> object:
                return context.__enter__()

            def __exit__(self, *exc: object) -> None:
                context.__exit__(*exc)
                deaf.armed = False
                connection.close()
                raise psycopg.OperationalError("the connection is lost")

        return Lossy()

    victim.applier.stores.postgres.write = write
    with arm(Failpoint.SWITCH_COMMITTING, lambda: setattr(deaf, "armed", True)):
        moved = victim.moved(Side.POSTGRES)
    assert moved.epoch == 2
    assert victim.writable_sides() == {Side.POSTGRES}
    victim.assert_same()


def test_apply_loses_nothing_when_the_server_crashes(victim: TestPair, mortal: EmbeddedPostgres) -> None:
    """Rounds do not wait for the disk; a crash may take the last of them back together with the watermark."""
    for n in range(5):
        victim.lite.execute("UPDATE item SET qty = ?", (n,))
        victim.drain()
    mortal.stop(signal.SIGQUIT)
    victim.lite.execute("UPDATE item SET note = 'while away'")
    with pytest.raises((psycopg.OperationalError, ShadowUnavailable)):
        victim.applier.round()
    mortal.start()
    victim.drain()
    victim.assert_same()
