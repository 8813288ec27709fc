"""Tables and functions of ours that somebody drops or empties: put back where that is safe, else named with what to do."""

from __future__ import annotations

import pytest
from psycopg.errors import UniqueViolation

from app.db.common.errors import PUT_RIGHT
from app.db.common.urls import Side
from app.db.sides.phase import record
from migration.common.failures import failure
from migration.fill.prepare import prepare
from migration.watch.status import gather, next_command
from tests.support.pairs import PlainTables, TestPair


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("damage", ["DROP TABLE st_watermark", "DELETE FROM st_watermark"])
def test_a_watermark_that_is_gone_begins_anew_by_prepare(
    pair: TestPair, primary: Side, side: Side, damage: str
) -> None:
    pair.app(primary).execute("UPDATE item SET qty = 901")
    pair.drain()
    pair.app(primary).execute("UPDATE item SET qty = 902")
    pair.app(side).execute(damage)
    status = gather(pair.pair, pair.new_stores(), source=PlainTables())
    assert next_command(status) in ("st-migrate prepare", None)
    assert prepare(pair.pair, pair.new_stores(), PlainTables(), report=lambda line: None).repaired
    pair.new_applier().round()
    pair.assert_same()
    assert pair.pg.execute("SELECT count(*) FROM st_verify").fetchone() == (0,)


@pytest.mark.parametrize("function", ["st_may_write()", "st_open_round(boolean)"])
def test_a_function_that_sessions_or_rounds_call_is_put_back(promoted: TestPair, function: str) -> None:
    promoted.pg.execute(f"DROP FUNCTION {function}".encode())
    promoted.new_applier().mend()
    row = promoted.pg.execute("SELECT to_regprocedure(%s) IS NOT NULL", (function,)).fetchone()
    assert row == (True,)


@pytest.mark.parametrize("damage", ["DROP TABLE st_change_log", "DROP TABLE st_watermark"])
def test_a_table_that_is_missing_is_named_with_what_to_do(replicating: TestPair, damage: str) -> None:
    replicating.lite.execute(damage)
    status = gather(replicating.pair, replicating.new_stores(), source=PlainTables())
    assert any(check.remedy == PUT_RIGHT for check in status.checks)


def test_a_sequence_of_ours_that_was_set_back_is_named(replicating: TestPair) -> None:
    """As `pg_restore --data-only` over a live database leaves it."""
    connection = replicating.pg
    connection.execute("SELECT setval(pg_get_serial_sequence('st_history', 'id'), 1, false)")
    with pytest.raises(UniqueViolation) as raised:
        record(connection, "anything", 1, {})
    outcome = failure(raised.value)
    assert "a number in st_history was given out twice" in outcome.message
    connection.execute(str(outcome.data["hint"]).partition(": ")[2].partition(" (on PostgreSQL)")[0].encode())
    record(connection, "anything", 1, {})


def test_a_trigger_that_left_no_trace_in_schema_version_is_put_back(
    replicating: TestPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections of before believe in the trigger, also those that would put it back."""
    monkeypatch.setattr("app.db.apply.round.SCHEMA_S", 0.0)
    replicating.drain()
    writer = replicating.new_lite()
    (version,) = replicating.lite.execute("PRAGMA schema_version").fetchone()
    replicating.lite.execute("DROP TRIGGER st_capture_owner_insert")
    replicating.lite.execute(f"PRAGMA schema_version = {version}")
    replicating.new_lite().execute("INSERT INTO owner (id, name) VALUES (4711, 'uncaught')")
    replicating.applier.mend()
    replicating.drain()
    writer.execute("INSERT INTO owner (id, name) VALUES (4712, 'caught')")
    replicating.drain()
    replicating.assert_same()
