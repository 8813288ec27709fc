"""off, async, sync, strict; the breaker; what a lost shadow does to commits."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from app.db.common.errors import ShadowUnavailable
from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from app.db.session import SessionLocal
from loadtests.stage.embedded import EmbeddedPostgres
from tests.core.modes.chosen import in_modes
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair, new_sqlite, wait_until


def write(name: str) -> None:
    with SessionLocal() as session:
        session.add(Owner(name=name))
        session.commit()


def has(pair: TestPair, side: Side, name: str) -> bool:
    mark = "?" if side is Side.SQLITE else "%s"
    return pair.app(side).execute(f"SELECT 1 FROM owner WHERE name = {mark}", (name,)).fetchone() is not None


def test_off_captures_and_nobody_applies(pair: TestPair, primary: Side, backend: MakeRuntime) -> None:
    backend(pair, dual_write="off")
    before = pair.log_size(primary)
    write("captured")
    assert pair.log_size(primary) > before
    assert not has(pair, primary.other, "captured")


def test_async_follows_by_itself(pair: TestPair, primary: Side, backend: MakeRuntime) -> None:
    backend(pair, dual_write="async")
    write("followed")
    wait_until(lambda: has(pair, primary.other, "followed"))


def test_writes_of_a_stranger_are_followed_too(pair: TestPair, primary: Side, backend: MakeRuntime) -> None:
    backend(pair, dual_write="async")
    pair.app(primary).execute("INSERT INTO owner (name) VALUES ('stranger')")
    wait_until(lambda: has(pair, primary.other, "stranger"))


@pytest.mark.parametrize("mode", ["sync", "strict"])
def test_the_shadow_has_it_when_commit_returns(
    pair: TestPair, primary: Side, backend: MakeRuntime, mode: str
) -> None:
    backend(pair, dual_write=mode)
    for n in range(20):
        write(f"now {n}")
        assert has(pair, primary.other, f"now {n}")
    pair.drain()
    pair.assert_same()


def test_strict_shadow_is_ahead_only_until_the_next_round(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    """The shadow took the change, then the primary did not commit it."""
    current = backend(pair, dual_write="strict")
    with arm(Failpoint.STRICT_ANNOUNCED, "raise"), pytest.raises(FailpointError):
        write("phantom")
    assert has(pair, primary.other, "phantom")
    assert not has(pair, primary, "phantom")
    write("next")
    current.replicator.catch_up()
    pair.applier.round(settle=True)
    assert not has(pair, primary.other, "phantom")
    pair.assert_same()


def test_a_round_between_the_announcement_and_the_commit_takes_nothing_back(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    backend(pair, dual_write="strict")
    other, seen = pair.new_applier(), []

    def look() -> None:
        other.round()
        seen.append(has(pair, primary.other, "ahead"))

    with arm(Failpoint.STRICT_ANNOUNCED, look):
        write("ahead")
    assert seen == [True]


@pytest.mark.parametrize("moment", ["before_commit", "after_flush_postexec"])
def test_strict_announces_what_a_listener_adds_to_a_commit(
    pair: TestPair, primary: Side, backend: MakeRuntime, moment: str
) -> None:
    """An application's listener writes when the commit begins, or after its first flush, which makes a second one."""
    backend(pair, wanted=primary, dual_write="strict")
    seen: list[bool] = []
    notes = [Owner(name="noted")]

    def note(session: Session, *context: object) -> None:
        if notes:
            session.add(notes.pop())

    event.listen(Session, moment, note)
    try:
        with arm(Failpoint.COMMIT_BEFORE, lambda: seen.append(has(pair, primary.other, "noted"))):
            write("written")
    finally:
        event.remove(Session, moment, note)
    assert seen == [True]
    assert has(pair, primary.other, "written")


def test_strict_does_not_cascade_on_a_shadow_that_was_primary(
    replicating: TestPair, backend: MakeRuntime
) -> None:
    """Replacing a parent row must not take its children along, which nobody changed."""
    replicating.moved(Side.POSTGRES)
    replicating.moved(Side.SQLITE)
    backend(replicating, dual_write="strict")
    with SessionLocal() as session:
        session.execute(text("UPDATE owner SET name = name"))
        session.commit()
    replicating.drain()
    replicating.assert_same()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(light=True) as server:
        yield server


@pytest.fixture
def lonely(own_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestPair]:
    """A pair whose PostgreSQL server may be killed."""
    path = tmp_path_factory.mktemp("lonely") / "app.db"
    new_sqlite(path)
    pair = TestPair(path, own_server.create_database("lonely"))
    pair.prepare()
    pair.backfill()
    yield pair
    pair.close()


def test_sync_degrades_while_the_shadow_is_away_and_comes_back_by_itself(
    lonely: TestPair, own_server: EmbeddedPostgres, backend: MakeRuntime
) -> None:
    current = backend(lonely, dual_write_timeout_ms=300)
    write("before")
    own_server.stop(signal.SIGQUIT)
    started = time.monotonic()
    write("first without shadow")
    assert time.monotonic() - started < 2
    wait_until(lambda: current.replicator.health().degraded)
    for n in range(50):
        write(f"without shadow {n}")
    assert current.replicator.health().error
    own_server.start()
    wait_until(lambda: not current.replicator.health().degraded, seconds=30)
    write("after")
    wait_until(lambda: has(lonely, Side.POSTGRES, "after"))
    lonely.assert_same()


def test_a_shadow_that_stalls_holds_a_commit_no_longer_than_the_time_out(
    lonely: TestPair, own_server: EmbeddedPostgres, backend: MakeRuntime
) -> None:
    import os

    import psutil

    current = backend(lonely, dual_write_timeout_ms=200)
    write("before")
    processes = [psutil.Process(own_server.pid), *psutil.Process(own_server.pid).children(recursive=True)]
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        write("stalled")
        assert time.monotonic() - started < 2
        assert current.replicator.health().degraded
        started = time.monotonic()
        write("not waited for")
        assert time.monotonic() - started < 0.2
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: not current.replicator.health().degraded, seconds=30)
    lonely.assert_same()


def test_strict_tells_the_caller_when_the_shadow_is_away(
    lonely: TestPair, own_server: EmbeddedPostgres, backend: MakeRuntime
) -> None:
    backend(lonely, dual_write="strict")
    write("before")
    own_server.stop(signal.SIGQUIT)
    with pytest.raises(ShadowUnavailable):
        write("refused")
    assert not has(lonely, Side.SQLITE, "refused")
    own_server.start()
    write("after")
    assert has(lonely, Side.POSTGRES, "after")
    lonely.assert_same()


def test_strict_refuses_nothing_because_of_a_connection_from_before_a_restart(
    lonely: TestPair, own_server: EmbeddedPostgres, backend: MakeRuntime
) -> None:
    backend(lonely, dual_write="strict")
    write("before")
    own_server.restart(signal.SIGQUIT)
    write("after")
    assert has(lonely, Side.SQLITE, "after")
    with lonely.new_pg() as fresh:
        assert fresh.execute("SELECT 1 FROM owner WHERE name = 'after'").fetchone()


def test_strict_is_refused_where_the_other_side_is_not_the_shadow(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    """A database of another pair, or an older copy of a file, takes no rows; the commit would be alone."""
    backend(pair, dual_write="strict", wanted=primary)
    write("before")
    shadow = pair.app(primary.other)
    ((own,),) = shadow.execute("SELECT pair FROM st_control").fetchall()
    shadow.execute("UPDATE st_control SET pair = 'another'")
    with pytest.raises(ShadowUnavailable, match="different pairs"):
        write("alone")
    assert not has(pair, primary, "alone")
    shadow.execute(f"UPDATE st_control SET pair = '{own}'")
    write("after")
    assert has(pair, primary.other, "after")


def test_paused_apply_holds_no_commit(pair: TestPair, primary: Side, backend: MakeRuntime) -> None:
    current = backend(pair, dual_write_timeout_ms=20_000)
    pair.app(primary.other).execute("UPDATE st_control SET paused = true")
    write("while paused")
    wait_until(lambda: current.replicator.health().phase is not None)
    started = time.monotonic()
    write("while paused too")
    assert time.monotonic() - started < 5
    pair.app(primary.other).execute("UPDATE st_control SET paused = false")
    wait_until(lambda: has(pair, primary.other, "while paused too"))


@in_modes(DualWrite.ASYNC, DualWrite.SYNC, DualWrite.STRICT)
def test_shadow_reads_find_a_difference_and_only_a_real_one(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    from app.db.common import metrics

    current = backend(pair, shadow_reads="compare", shadow_read_rate=1.0)

    def mismatches() -> float:
        return float(metrics.SHADOW_MISMATCHES._value.get())

    def read() -> None:
        with SessionLocal() as session:
            session.scalars(select(Owner).order_by(Owner.id)).all()
        current.shadow_reads.drain()

    before = mismatches()
    write("equal")
    read()
    assert mismatches() == before
    shadow = pair.app(primary.other)
    if primary is Side.SQLITE:
        shadow.execute("BEGIN; SELECT set_config('st.applying', (SELECT epoch::text FROM st_control), true);")
        shadow.execute("UPDATE owner SET name = 'corrupt' WHERE name = 'equal'; COMMIT")
    else:
        shadow.execute("UPDATE st_control SET applying = 1")
        shadow.execute("UPDATE owner SET name = 'corrupt' WHERE name = 'equal'")
        shadow.execute("UPDATE st_control SET applying = 0")
    read()
    assert mismatches() == before + 1


def test_a_dead_coordinator_of_either_direction_is_recovered_by_a_running_backend(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    """Killed with the fence up, and killed after the commit record: the backend settles both."""
    for point, expected in (
        (Failpoint.SWITCH_FENCED, primary),
        (Failpoint.SWITCH_COMMITTED, primary.other),
    ):
        with arm(point, "raise"), pytest.raises(FailpointError):
            pair.move(primary.other)
        pair.expire_attempt()
        current = backend(pair, wanted=primary, cutover_hold_ms=10_000)
        write(f"after {point}")
        assert current.primary() is expected
        assert pair.writable_sides() == {expected}
        assert has(pair, expected, f"after {point}")


@in_modes(DualWrite.SYNC, DualWrite.STRICT)  # the shadow has the next one when its commit returns
def test_a_process_that_dies_before_its_commit_leaves_nothing(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    backend(pair)
    with arm(Failpoint.COMMIT_BEFORE, "raise"), pytest.raises(FailpointError):
        write("never")
    write("next")
    for side in Side:
        assert not has(pair, side, "never")
        assert has(pair, side, "next")


@in_modes(DualWrite.ASYNC, DualWrite.SYNC, DualWrite.STRICT)
def test_a_commit_whose_acknowledgement_was_lost_has_one_effect_on_both_sides(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    """The primary has it, the caller was told nothing; the shadow gets it all the same."""
    backend(pair)
    with arm(Failpoint.COMMIT_AFTER, "raise"), pytest.raises(FailpointError):
        write("unknown")
    wait_until(lambda: has(pair, primary.other, "unknown"))
    count = "SELECT count(*) FROM owner WHERE name = 'unknown'"
    assert [pair.app(side).execute(count).fetchone()[0] for side in Side] == [1, 1]
    pair.assert_same()
