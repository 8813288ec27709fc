"""PostgreSQL, the primary, dies between a commit and its way to SQLite: nobody is told that all is well."""

from __future__ import annotations

import signal
import threading

import pytest

from app.db.common.errors import PrimaryUnavailable
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from migration.switch import forced
from tests.core.outage.through_proxy import names, write
from tests.support.backends import MakeRuntime
from tests.support.pairs import TestPair, wait_until


@pytest.fixture
def on_postgres(victim: TestPair) -> TestPair:
    """The victim after the switch, prepared for a server that dies."""
    victim.moved(Side.POSTGRES)
    victim.forget_pg()
    return victim


def acknowledged(name: str) -> bool:
    try:
        write(name)
    except PrimaryUnavailable as error:
        assert "went away before the shadow had this transaction" in str(error)
        return False
    return True


def force(pair: TestPair) -> None:
    """What `rollback --force --accept-loss` does."""
    stores = pair.new_stores()
    examined = forced.examine(stores)
    assert examined is not None
    forced.force(stores, *examined)


@pytest.mark.parametrize("degraded", [False, True], ids=["not_degraded", "degraded_meanwhile"])
def test_killed_after_the_commit(
    on_postgres: TestPair, mortal: EmbeddedPostgres, backend: MakeRuntime, degraded: bool
) -> None:
    """commit on PostgreSQL -> PostgreSQL killed -> (another thread has noticed) -> the caller's answer."""
    current = backend(on_postgres, wanted=Side.POSTGRES, dual_write="sync")
    assert acknowledged("before")

    def kill() -> None:
        mortal.stop(signal.SIGQUIT)
        if degraded:
            wait_until(lambda: current.replicator.health().degraded)

    with arm(Failpoint.COMMIT_AFTER, kill):
        told = acknowledged("last")
    on_postgres.forget_pg()
    force(on_postgres)
    kept = set(names(on_postgres, Side.SQLITE))
    mortal.start()
    assert "before" in kept
    assert not told and "last" not in kept


def test_a_connection_that_breaks_alone_costs_nothing(
    on_postgres: TestPair, mortal: EmbeddedPostgres, backend: MakeRuntime
) -> None:
    """Only the applier's connection is lost: the commit reaches the shadow over a new one."""
    backend(on_postgres, wanted=Side.POSTGRES, dual_write="sync")
    assert acknowledged("before")

    def cut() -> None:
        on_postgres.pg.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'st-replicator' AND datname = current_database()"
        )

    with arm(Failpoint.COMMIT_AFTER, cut):
        assert acknowledged("on the way")
    assert "on the way" in names(on_postgres, Side.SQLITE)


def test_the_first_commit_of_a_process_waits_for_the_shadow_too(
    on_postgres: TestPair, backend: MakeRuntime
) -> None:
    """The thread has not looked yet, so it does not know the phase: no reason to go on without the shadow."""
    current = backend(on_postgres, wanted=Side.POSTGRES, dual_write="sync")
    current.stop()
    current.replicator._phase = None
    entered = threading.Event()
    hold = threading.Event()

    def late() -> None:
        entered.set()
        hold.wait(5)

    with arm(Failpoint.APPLY_LOCKED, late):
        writer = threading.Thread(target=acknowledged, args=("first",))
        writer.start()
        assert entered.wait(5)
        assert writer.is_alive()
        hold.set()
        writer.join()
    assert "first" in names(on_postgres, Side.SQLITE)
