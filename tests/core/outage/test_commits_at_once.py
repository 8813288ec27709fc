"""Many sync commits at the moment at which PostgreSQL falls silent: each waits for its own time-out at most."""

from __future__ import annotations

import threading

import pytest

from app.db.apply.round import Applier
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.session.replicator import follower
from tests.core.outage.proxy import Mode, Proxy
from tests.core.outage.through_proxy import Through, names, settled, write
from tests.support.backends import MakeRuntime
from tests.support.pairs import TestPair, wait_until
from tests.support.small_rounds import small_rounds_at_once

TIMEOUT_MS = 1_000
COUNT = 10


def _freeze(proxy: Proxy) -> None:
    proxy.mode = Mode.STALL
    proxy.forget()


@pytest.mark.parametrize("silent", ["stalled", "frozen"])
def test_each_commit_is_held_for_its_own_time_out_at_most_and_none_fails(
    replicating: TestPair,
    through: Through,
    proxy: Proxy,
    backend: MakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
    silent: str,
) -> None:
    # The thread's own round may be under way when its connection is forgotten.
    monkeypatch.setattr(follower, "SILENCE_LIMIT_S", 5.0)
    current = backend(through(replicating), dual_write_timeout_ms=TIMEOUT_MS)
    write("before")
    seconds: list[float] = []
    errors: list[Exception] = []

    def work(n: int) -> None:
        try:
            seconds.append(write(f"silent {n}"))
        except Exception as error:  # whatever it is, the test looks at it
            errors.append(error)

    if silent == "frozen":
        _freeze(proxy)
    else:
        proxy.mode = Mode.STALL
    threads = [threading.Thread(target=work, args=(n,)) for n in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert len(seconds) == COUNT
    assert 0.5 * TIMEOUT_MS / 1000 < max(seconds) < TIMEOUT_MS / 1000 + 1
    assert current.replicator.health().degraded
    assert write("not waited for") < TIMEOUT_MS / 2000
    assert {f"silent {n}" for n in range(COUNT)} <= set(names(replicating, Side.SQLITE))
    proxy.mode = Mode.PASS
    settled(current, replicating, "not waited for")


def test_a_small_round_s_acknowledgement_is_lost_on_the_way(
    replicating: TestPair, through: Through, proxy: Proxy, backend: MakeRuntime
) -> None:
    """Everything was sent; the answer never comes. The row is there once, the commit does not fail."""
    with small_rounds_at_once() as small:
        current = backend(through(replicating), dual_write_timeout_ms=TIMEOUT_MS)
        wait_until(lambda: write("before it") and small.carried)
        small.forget()
        with arm(Failpoint.APPLY_AFTER_COMMIT, lambda: _freeze(proxy)):
            assert write("perhaps") < TIMEOUT_MS / 1000 + 1
        assert small.carried == [1]
        assert write("next") < TIMEOUT_MS / 1000 + 1
        assert current.replicator.health().degraded
        proxy.mode = Mode.PASS
        settled(current, replicating, "next")
    assert names(replicating, Side.POSTGRES).count("perhaps") == 1


def test_only_the_round_of_a_commit_is_in_a_hurry(
    replicating: TestPair, through: Through, proxy: Proxy, backend: MakeRuntime
) -> None:
    """The deadline of a commit goes with it: the background thread's rounds may take as long as they need."""
    current = backend(through(replicating), dual_write_timeout_ms=TIMEOUT_MS)
    write("before")
    applier = current.replicator._applier
    assert isinstance(applier, Applier)
    assert applier.stores.sqlite._deadline is applier.stores.postgres._deadline is None
    assert getattr(applier.stores.postgres.connection, "deadline", 0) is None


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_server_that_forgot_the_last_rounds_gets_them_again_without_another_write(
    replicating: TestPair, backend: MakeRuntime, mode: str
) -> None:
    """A crash undoes rounds that did not wait for the disk; nobody may need to write for that to be noticed."""
    with small_rounds_at_once():
        backend(replicating, dual_write=mode)
        write("kept")
        wait_until(lambda: "kept" in names(replicating, Side.POSTGRES))
        position = replicating.pg.execute("SELECT position FROM st_watermark").fetchone()
        write("forgotten")
        wait_until(lambda: "forgotten" in names(replicating, Side.POSTGRES))
        with replicating.pg.transaction():
            replicating.pg.execute("SELECT set_config('st.applying', epoch::text, true) FROM st_control")
            replicating.pg.execute("DELETE FROM owner WHERE name = 'forgotten'")
            replicating.pg.execute("UPDATE st_watermark SET position = %s", position)
        replicating.pg.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'st-replicator'"
        )
        wait_until(lambda: "forgotten" in names(replicating, Side.POSTGRES), seconds=15)
    replicating.assert_same()
