"""P6: there and back and there again without copying again; ids, foreign keys and sequences are right."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import pq

from app.db.apply.outcome import Round
from app.db.common.urls import Side
from app.db.sides.postgres import deferred
from app.db.sides.postgres.connection import BoundedConnection
from app.db.switch.coordinator import Aborted
from tests.support.pairs import TestPair, wait_until
from tests.support.shapes import TABLES, ident

_NAMED = "INSERT INTO owner (name) VALUES ('{}') RETURNING id"


def _foreign_keys(pair: TestPair) -> dict[str, bool]:
    """Name of each foreign key on PostgreSQL, and whether it is validated."""
    rows = pair.pg.execute(
        "SELECT c.conrelid::regclass::text || '.' || c.conname, c.convalidated FROM pg_constraint c "
        "WHERE c.contype = 'f'"
    ).fetchall()
    return dict(rows)


def test_there_and_back_and_there_again(replicating: TestPair) -> None:
    ids: list[int] = []
    to = Side.SQLITE
    for turn in range(5):
        connection = replicating.app(to)
        ids += connection.execute(_NAMED.format(f"owner {turn}")).fetchone()
        connection.execute("UPDATE item SET qty = qty + 1")
        connection.execute(f"DELETE FROM pairkey WHERE a = {turn}")
        connection.execute(f"INSERT INTO pairkey VALUES ({turn}, 'turn', 'v')")
        moved = replicating.moved(to.other)
        assert moved.epoch == turn + 2
        to = to.other
        assert replicating.writable_sides() == {to}
        replicating.assert_same()
    assert len(set(ids)) == 5
    assert replicating.pg.execute("SELECT count(*) FROM item WHERE qty = id * 10 + 5").fetchone() == (5,)


def test_ids_do_not_collide_with_those_handed_out_before(promoted: TestPair) -> None:
    """Every table with a sequence goes on above what it holds, deleted rows included."""
    highest = promoted.lite.execute("SELECT max(id) FROM item").fetchone()[0]
    new = promoted.pg.execute("INSERT INTO item (name) VALUES ('new') RETURNING id").fetchone()
    assert new is not None
    assert new[0] > highest
    promoted.pg.execute("DELETE FROM item WHERE id = %s", new)
    promoted.moved(Side.SQLITE)
    promoted.lite.execute("INSERT INTO item (id, name) VALUES (1000000, 'far')")
    promoted.moved(Side.POSTGRES)
    again = promoted.pg.execute("INSERT INTO item (name) VALUES ('again') RETURNING id").fetchone()
    assert again is not None
    assert again[0] > 1_000_000


def test_sequence_never_goes_back(promoted: TestPair) -> None:
    before = promoted.pg.execute("SELECT nextval(pg_get_serial_sequence('item', 'id'))").fetchone()
    promoted.moved(Side.SQLITE)
    promoted.moved(Side.POSTGRES)
    after = promoted.pg.execute("SELECT nextval(pg_get_serial_sequence('item', 'id'))").fetchone()
    assert before is not None
    assert after is not None
    assert after[0] > before[0]


def test_foreign_keys_check_from_the_promotion_on(replicating: TestPair) -> None:
    """None while PostgreSQL is the shadow; all from the promotion on, those with orphans left not valid."""
    assert _foreign_keys(replicating) == {}
    for _ in range(2):
        replicating.moved(Side.POSTGRES)
        assert len(_foreign_keys(replicating)) == 6
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            replicating.pg.execute("INSERT INTO pet (owner_id) VALUES (4711)")
        assert deferred.validate_foreign_keys(replicating.pg) == ["stray.stray_owner_id_fkey"]
        assert [name for name, valid in _foreign_keys(replicating).items() if not valid] == [
            "stray.stray_owner_id_fkey"
        ]
        assert replicating.pg.execute("SELECT owner_id FROM stray WHERE id = 2").fetchone() == (77,)
        replicating.pg.execute("DELETE FROM loan WHERE owner_id = 3")
        replicating.moved(Side.SQLITE)
        replicating.lite.execute("UPDATE owner SET name = name || '!'")
        replicating.drain()
        assert _foreign_keys(replicating) == {}
        replicating.assert_same()


def test_replacing_a_parent_on_the_new_shadow_takes_no_children(promoted: TestPair) -> None:
    """The first round after the way back deletes and inserts a parent row: nothing may cascade."""
    promoted.moved(Side.SQLITE)
    promoted.lite.execute("UPDATE owner SET name = 'renamed' WHERE id = 1")
    promoted.drain()
    promoted.assert_same()
    assert promoted.pg.execute("SELECT count(*) FROM pet WHERE owner_id = 1").fetchone() == (2,)


def test_a_report_over_several_tables_outlives_the_drop_of_foreign_keys(promoted: TestPair) -> None:
    """A reader and the first round on the new shadow want each other's tables: the round gives way."""
    promoted.moved(Side.SQLITE)
    promoted.lite.execute("UPDATE owner SET name = name || '!'")
    applier = promoted.new_applier()
    held, waited_for = (
        "loan",
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted",
    )
    outcomes: list[object] = []

    def rounds() -> None:
        while not outcomes or isinstance(outcomes[-1], psycopg.errors.LockNotAvailable):
            try:
                outcomes.append(applier.round())
            except psycopg.errors.LockNotAvailable as busy:
                outcomes.append(busy)

    report = promoted.new_pg()
    # The report would be the one that the server ends: it looks for a deadlock before the round does.
    report.execute("SET deadlock_timeout = '700ms'")
    report.execute("BEGIN")
    report.execute(f"SELECT count(*) FROM {held}")
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(rounds)
        wait_until(lambda: outcomes or promoted.pg.execute(waited_for).fetchone() != (0,))
        for table in TABLES:
            report.execute(f"SELECT count(*) FROM {ident(table)}")
        report.execute("COMMIT")
        done.result(60)
    assert isinstance(outcomes[-1], Round)
    assert _foreign_keys(promoted) == {}
    promoted.assert_same()


def test_only_a_round_gives_way(promoted: TestPair) -> None:
    """Nobody repeats prepare or a migration for its caller: the drop waits as long as its own limit allows."""
    report, writer = promoted.new_pg(), promoted.new_pg()
    report.execute("BEGIN")
    report.execute("SELECT count(*) FROM loan")
    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND clock_timestamp() - query_start > interval '500 ms'"
    )

    def drop() -> int:
        with writer.transaction():
            return deferred.drop_foreign_keys(writer)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(drop)
        wait_until(lambda: done.done() or promoted.pg.execute(waits).fetchone() != (0,))
        report.execute("COMMIT")
        assert done.result(60) == 6
    assert _foreign_keys(promoted) == {}


def test_switching_to_the_primary_is_refused(pair: TestPair, primary: Side) -> None:
    outcome = pair.move(primary)
    assert isinstance(outcome, Aborted)
    assert "already is primary" in outcome.reason
    assert pair.writable_sides() == {primary}


def test_no_switch_while_copying(copying: TestPair) -> None:
    outcome = copying.move(Side.POSTGRES)
    assert isinstance(outcome, Aborted)
    assert copying.writable_sides() == {Side.SQLITE}


def test_a_round_back_waits_no_more_often_for_three_tables_than_for_one(
    promoted: TestPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From PostgreSQL a commit's round reads all tables with one message, not table by table."""
    waits = 0
    wait = BoundedConnection.wait

    def counted(connection: BoundedConnection, *arguments: Any, **options: Any) -> Any:
        nonlocal waits
        waits += connection.pgconn.pipeline_status == pq.PipelineStatus.OFF
        return wait(connection, *arguments, **options)

    def round_after(*statements: str) -> int:
        nonlocal waits
        for statement in statements:
            promoted.pg.execute(statement.encode())
        waits = 0
        outcome = promoted.applier.round()
        assert isinstance(outcome, Round) and outcome.changes
        return waits

    monkeypatch.setattr(BoundedConnection, "wait", counted)
    monkeypatch.setattr("app.db.apply.round.SCHEMA_S", 600.0)  # no look at the catalog falls into a round
    promoted.applier.forget_schema()
    round_after("UPDATE item SET qty = qty + 1")  # the first one reads the schema, too
    one = round_after("UPDATE item SET qty = qty + 1")
    three = round_after(
        "UPDATE item SET qty = qty + 1", "UPDATE owner SET name = name || '!'", "DELETE FROM pairkey"
    )
    assert one == three == 4, "changes, quarantine, rows, and the end"
    promoted.assert_same()
