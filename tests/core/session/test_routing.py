"""Where sessions go before, during and after a switch; P2 and P9 as the application sees them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import delete, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.db.common.errors import Fenced, PrimaryUnavailable
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.session.routed import RoutedSession
from app.db.sides.capture.triggers import remove_postgres, remove_sqlite
from app.db.sides.locks import writers_in_flight
from app.db.switch.coordinator import Aborted, Moved
from migration.switch.retired import retire_sqlite
from tests.support.backends import MakeRuntime, Owner, Pet
from tests.support.pairs import TestPair, wait_until

Write = Callable[[RoutedSession], None]


def _orm(session: RoutedSession) -> None:
    session.add(Owner(name="new"))


def _core(session: RoutedSession) -> None:
    session.execute(insert(Owner).values(name="new"))


def _raw(session: RoutedSession) -> None:
    session.execute(text("INSERT INTO owner (name) VALUES ('new')"))


def _with_clause(session: RoutedSession) -> None:
    session.execute(text("WITH one AS (SELECT 'new' AS name) INSERT INTO owner (name) SELECT name FROM one"))


def _bulk(session: RoutedSession) -> None:
    session.bulk_insert_mappings(Owner, [{"name": "new"}])


def _bulk_objects(session: RoutedSession) -> None:
    session.bulk_save_objects([Owner(name="new")])


def _savepoint(session: RoutedSession) -> None:
    with session.begin_nested():
        session.add(Owner(name="new"))


def _read_then_write(session: RoutedSession) -> None:
    session.scalars(select(Owner)).all()
    session.add(Owner(name="new"))


WRITES: list[Write] = [_orm, _core, _raw, _with_clause, _bulk, _bulk_objects, _savepoint, _read_then_write]


def names(pair: TestPair, side: Side) -> set[str]:
    return {row[0] for row in pair.app(side).execute("SELECT name FROM owner").fetchall()}


@pytest.mark.parametrize("mode", ["sync", "strict"])
@pytest.mark.parametrize("write", WRITES)
def test_every_way_of_writing_lands_on_the_primary_and_the_shadow_has_it_at_once(
    pair: TestPair, primary: Side, backend: MakeRuntime, write: Write, mode: str
) -> None:
    backend(pair, dual_write=mode)
    with SessionLocal() as session:
        write(session)
        session.commit()
    assert "new" in names(pair, primary)
    assert "new" in names(pair, primary.other)


@pytest.mark.parametrize("write", WRITES)
def test_a_transaction_held_at_the_fence_goes_on_where_the_primary_went(
    pair: TestPair, primary: Side, backend: MakeRuntime, write: Write
) -> None:
    """The fence goes up after the transaction has read and before it writes."""
    backend(pair, wanted=primary, cutover_hold_ms=20_000)
    reached = threading.Event()
    release = threading.Event()
    outcome: list[Moved | Aborted] = []

    def hold() -> None:
        reached.set()
        assert release.wait(20)

    def switch() -> None:
        with arm(Failpoint.SWITCH_FENCED, hold):
            outcome.append(pair.move(primary.other, max_pause_ms=30_000))

    with SessionLocal() as session:
        assert session.scalar(select(Owner.id).limit(1))
        coordinator = threading.Thread(target=switch)
        coordinator.start()
        assert reached.wait(20)
        threading.Timer(0.2, release.set).start()
        write(session)
        session.commit()
        coordinator.join()
    assert isinstance(outcome[0], Moved), outcome
    assert "new" in names(pair, primary.other)
    pair.drain()
    pair.assert_same()


def test_a_transaction_held_at_the_fence_goes_on_where_it_was_if_the_switch_is_aborted(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    backend(pair, wanted=primary, cutover_hold_ms=20_000)
    reached = threading.Event()
    outcome: list[Moved | Aborted] = []

    def too_slow() -> None:
        reached.set()
        time.sleep(0.1)

    def switch() -> None:
        with arm(Failpoint.SWITCH_FENCED, too_slow):
            outcome.append(pair.move(primary.other, max_pause_ms=50))

    coordinator = threading.Thread(target=switch)
    coordinator.start()
    assert reached.wait(20)
    with SessionLocal() as session:
        _orm(session)
        session.commit()
    coordinator.join()
    assert isinstance(outcome[0], Aborted)
    assert "new" in names(pair, primary)


def test_a_transaction_is_told_to_come_back_when_the_fence_stays_up(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    backend(pair, wanted=primary, cutover_hold_ms=150, dual_write="off")
    pair.app(primary).execute("UPDATE st_control SET writable = false")
    started = time.monotonic()
    with SessionLocal() as session, pytest.raises(PrimaryUnavailable, match="send the request again"):
        _orm(session)
        session.commit()
    assert 0.14 < time.monotonic() - started < 3
    assert "new" not in names(pair, primary) | names(pair, primary.other)


def test_a_session_that_waits_holds_nothing_that_the_coordinator_needs(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    """The writers' lock is let go while waiting, else no later fence could be raised."""
    backend(pair, wanted=primary, cutover_hold_ms=20_000, dual_write="off")
    pair.app(primary).execute("UPDATE st_control SET writable = false")
    done = threading.Event()

    def write() -> None:
        with SessionLocal() as session:
            _orm(session)
            session.commit()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    if primary is Side.SQLITE:
        pair.new_lite(timeout=5).execute("BEGIN IMMEDIATE")
    else:
        pair.new_pg().execute("SET lock_timeout = '5s'; SELECT pg_advisory_lock(21332, 1)")
    assert not done.is_set()
    pair.close()
    pair.app(primary).execute("UPDATE st_control SET writable = true")
    writer.join(20)
    assert done.is_set()


def test_an_admitted_session_keeps_the_fence_of_postgres_down(
    promoted: TestPair, backend: MakeRuntime
) -> None:
    """Else its first statement would fail at a fence that went up in between."""
    backend(promoted, wanted=Side.POSTGRES)
    with SessionLocal() as session:
        session.begin_nested()
        assert len(writers_in_flight(promoted.pg)) == 1
        session.rollback()
    assert writers_in_flight(promoted.pg) == []


def test_reads_follow_the_primary_in_the_running_process(replicating: TestPair, backend: MakeRuntime) -> None:
    current = backend(replicating)

    def dialect() -> str:
        with SessionLocal() as session:
            session.scalars(select(Owner)).all()
            return session.connection().dialect.name

    assert dialect() == "sqlite"
    replicating.moved(Side.POSTGRES)
    assert dialect() == "postgresql"
    replicating.moved(Side.SQLITE)
    assert dialect() == "sqlite"
    assert current.desired is Side.SQLITE


def test_nothing_prepared_means_the_side_that_the_url_names(fresh: TestPair, backend: MakeRuntime) -> None:
    backend(fresh)
    with SessionLocal() as session:
        _orm(session)
        session.commit()
    assert "new" in names(fresh, Side.SQLITE)


def test_a_running_process_notices_that_the_pair_was_prepared(fresh: TestPair, backend: MakeRuntime) -> None:
    current = backend(fresh, dual_write="sync")
    current.start()
    fresh.prepare()
    fresh.backfill()
    wait_until(lambda: current.replicator.health().phase == "replicating")
    with SessionLocal() as session:
        _orm(session)
        session.commit()
    assert "new" in names(fresh, Side.POSTGRES)


def test_a_process_in_single_mode_on_the_old_side_is_refused_with_a_clear_error(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    """It never heard of the switch: no shadow configured, no control row read."""
    backend(pair, wanted=primary.other, shadow=False)
    with SessionLocal() as session, pytest.raises(Fenced, match=f"the primary is {primary}"):
        _orm(session)
        session.commit()


def test_the_fence_of_a_pair_that_an_earlier_version_prepared_is_recognised(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    """There the refusal is a violated constraint on SQLite, and has a state of its own on PostgreSQL."""
    if primary is Side.POSTGRES:
        old = "sqlite takes no application writes: the primary is postgres (epoch 2)"
        pair.lite.execute("DROP TRIGGER st_fence")
        pair.lite.execute(
            "CREATE TRIGGER st_fence BEFORE INSERT ON st_change_log "
            "WHEN (SELECT writable = 0 AND applying = 0 FROM st_control WHERE id = 1) "
            f"BEGIN SELECT RAISE(ABORT, '{old}'); END"
        )
    else:
        source = pair.pg.execute("SELECT pg_get_functiondef('st_admit'::regproc)").fetchone()
        assert source and "55ST1" in source[0]
        pair.pg.execute(source[0].replace("55ST1", "ST001").encode())
    backend(pair, wanted=primary.other, shadow=False)
    with SessionLocal() as session, pytest.raises(Fenced, match=f"the primary is {primary}"):
        _orm(session)
        session.commit()


def test_foreign_keys_are_enforced_from_prepare_on(replicating: TestPair, backend: MakeRuntime) -> None:
    backend(replicating)
    with SessionLocal() as session, pytest.raises(IntegrityError):
        session.add(Pet(owner_id=10**9, v="stray"))
        session.commit()


def test_off_means_a_plain_session_no_thread_and_no_statement_of_ours(
    fresh: TestPair, backend: MakeRuntime
) -> None:
    """P8."""
    before = {thread.name for thread in threading.enumerate()}
    current = backend(fresh, shadow=False)
    current.start()
    seen: list[str] = []
    event.listen(
        current.engine(Side.SQLITE),
        "before_cursor_execute",
        lambda conn, cursor, statement, *rest: seen.append(statement),
    )
    with SessionLocal() as session:
        assert type(session).__name__ == "Session"
        session.execute(select(Owner.id))
        session.execute(update(Owner).where(Owner.id == 1).values(name="x"))
        session.execute(delete(Owner).where(Owner.id == -1))
        session.commit()
    assert [statement.split()[0] for statement in seen] == ["SELECT", "UPDATE", "DELETE"]
    assert {thread.name for thread in threading.enumerate()} <= before
    objects = fresh.lite.execute("SELECT count(*) FROM sqlite_master WHERE name GLOB 'st_*'").fetchone()
    assert objects == (0,)


def test_savepoints_are_real_on_sqlite(fresh: TestPair, backend: MakeRuntime) -> None:
    """What was written in a released savepoint goes with the caller's rollback."""
    backend(fresh, shadow=False)
    with SessionLocal() as session:
        with session.begin_nested():
            session.add(Owner(name="new"))
        session.rollback()
    assert "new" not in names(fresh, Side.SQLITE)


def test_reading_before_writing_does_not_fail_when_another_writer_came_between(
    fresh: TestPair, backend: MakeRuntime
) -> None:
    backend(fresh, shadow=False)
    with SessionLocal() as session:
        session.scalars(select(Owner)).all()
        fresh.lite.execute("INSERT INTO owner (name) VALUES ('between')")
        session.add(Owner(name="new"))
        session.commit()
    assert {"between", "new"} <= names(fresh, Side.SQLITE)


def test_after_complete_a_process_that_still_names_sqlite_goes_to_postgres(
    promoted: TestPair, backend: MakeRuntime
) -> None:
    """The control rows are gone; the file that was left says that it is an archive."""
    backend(promoted, dual_write="off")
    with promoted.applier.stores.sqlite.write() as connection:
        retire_sqlite(connection, 2)
        remove_sqlite(connection)
    with promoted.applier.stores.postgres.write() as connection:
        remove_postgres(connection)

    def write() -> bool:
        try:
            with SessionLocal() as session:
                _orm(session)
                session.commit()
        except DBAPIError:  # a transaction that was admitted by what had just been removed
            return False
        return True

    wait_until(write)
    assert "new" in names(promoted, Side.POSTGRES)
    assert "new" not in names(promoted, Side.SQLITE)
