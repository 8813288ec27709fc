"""Each gate closes when its condition is broken, says why and what to do, and leaves no trace."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from app.db.common.errors import MAKE_ROOM, Refused
from app.db.common.urls import Side
from app.db.switch.coordinator import Coordinator, Moved
from app.db.switch.gates import Gate, evaluate, require
from app.db.switch.state.checks import make
from migration.verify.run import Verify, repair
from tests.core.switch.gated import broken, closed, dump, gates, the_only
from tests.data.verify.small_pair import SmallPair, make_small_pair


def test_all_open_after_a_verify(ready: SmallPair, to: Side) -> None:
    Verify(ready.applier).run()
    ready.write("UPDATE bars SET price = price + 1 WHERE id <= 20")
    ready.settle()
    before = dump(ready)
    found = gates(ready)
    assert dump(ready) == before
    assert closed(ready) == {}
    require(list(found.values()))
    assert found["verify"].detail.startswith("clean, ")
    assert found["changes"].detail == "20 keys changed since the verify, all equal"
    assert f"logged on {to}, applied to {to.other}" in found["reverse"].detail
    assert ("1 foreign keys" if to is Side.POSTGRES else "0 foreign keys") in found["pause"].detail
    assert isinstance(Coordinator(ready.applier, max_pause_ms=5_000).move(to), Moved)
    ready.settle()


def test_a_full_disk_is_no_matter_of_a_worker(tmp_path: Path) -> None:
    file = sqlite3.connect(tmp_path / "full.db")
    file.executescript("PRAGMA page_size = 512; CREATE TABLE t (a); PRAGMA max_page_count = 2")

    def write() -> tuple[bool, str]:
        file.execute("INSERT INTO t VALUES (zeroblob(5000))")
        return True, ""

    check = make("lag", write, "run st-migrate worker --until-drained", "worker --until-drained")
    file.close()
    assert "full" in check.detail
    assert (check.ok, check.remedy, check.command) == (False, MAKE_ROOM, None)


def test_no_verify_at_all(ready: SmallPair) -> None:
    with ready.applier.stores.postgres.write() as connection:
        connection.execute("DELETE FROM st_verify")
    gate = the_only(ready, "verify")
    assert (gate.detail, gate.remedy) == ("there is no finished verify", "run st-migrate verify")
    Verify(ready.applier).run()
    assert closed(ready) == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("epoch = epoch - 1", "belongs to epoch"),
        ("finished_at = NULL", "no finished verify"),
        ("mismatches = 3", "found 3 mismatches"),
        ("tables = '[\"bars\"]'", "schema has changed"),
        ("run = 'x-000000000000'", "schema has changed"),
    ],
)
def test_a_verify_that_does_not_count(ready: SmallPair, change: str, reason: str) -> None:
    Verify(ready.applier).run()
    ready.applier.stores.postgres.connection.execute(f"UPDATE st_verify SET {change}".encode())
    assert reason in the_only(ready, "verify").detail
    Verify(ready.applier).run()


def test_a_partial_verify_that_found_something(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    ready.corrupt("DELETE FROM parents WHERE id = 1")
    found = Verify(ready.applier, tables=["parents"]).run()
    assert "a later verify found 1 mismatch" in the_only(ready, "verify").detail
    repair(ready.applier, found.mismatches)
    assert closed(ready) == {}


def test_phase(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    with broken(
        ready, "UPDATE st_control SET phase = 'copying'", "UPDATE st_control SET phase = 'replicating'"
    ):
        assert the_only(ready, "phase").detail == "phase copying"


def test_direction(ready: SmallPair, to: Side) -> None:
    Verify(ready.applier).run()
    before = dump(ready)
    found = [gate for gate in evaluate(ready.applier, to.other, max_pause_ms=5_000) if not gate.ok]
    assert dump(ready) == before
    assert [gate.name for gate in found] == ["direction", "reverse"]
    assert found[0].detail.startswith(f"{to.other} is primary")


def test_an_attempt_in_progress(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    with broken(
        ready,
        "UPDATE st_control SET attempt = 'abc', note = 'host/42'",
        "UPDATE st_control SET attempt = NULL, note = NULL",
    ):
        gate = the_only(ready, "attempt")
    assert "host/42" in gate.detail and gate.remedy == "run st-migrate recover"


def test_control_rows_that_disagree(ready: SmallPair, to: Side) -> None:
    Verify(ready.applier).run()
    side = Side.SQLITE
    with broken(
        ready, "UPDATE st_control SET epoch = epoch - 1", "UPDATE st_control SET epoch = epoch + 1", side
    ):
        assert "attempt" in closed(ready)


def test_a_primary_left_fenced(ready: SmallPair, to: Side) -> None:
    Verify(ready.applier).run()
    off, on = ("false", "true") if to is Side.SQLITE else ("0", "1")
    with broken(
        ready, f"UPDATE st_control SET writable = {off}", f"UPDATE st_control SET writable = {on}", to.other
    ):
        assert "takes no writes" in the_only(ready, "attempt").detail


def test_quarantine(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    insert = (
        "INSERT INTO st_quarantine (tbl, k, col, reason, content, at) "
        "SELECT 'bars', n::text, 'price', 'text', '{}', 0 FROM generate_series(1, 7) AS n"
    )
    with broken(ready, insert, "DELETE FROM st_quarantine"):
        gate = the_only(ready, "quarantine")
        assert "7 rows" in gate.detail and "bars 1, bars 2" in gate.detail and gate.detail.endswith("...")
        ready.applier.stores.postgres.connection.execute(
            "UPDATE st_quarantine SET accepted_by = 'me', accepted_at = 1"
        )
        assert gates(ready)["quarantine"].detail == "7 rows, all accepted"


def test_lag(ready: SmallPair) -> None:
    """Apply stands still, so the changes stay where they are."""
    Verify(ready.applier).run()
    ready.applier.stores.postgres.connection.execute("UPDATE st_control SET paused = true")
    ready.applier.stores.sqlite.connection.execute("UPDATE st_control SET paused = 1")
    ready.write("UPDATE bars SET price = price + 1 WHERE id <= 11")
    gate = the_only(ready, "lag", max_lag=10)
    assert gate.detail.startswith("11 changes behind, 10 allowed, apply stands still")
    ready.applier.stores.postgres.connection.execute("UPDATE st_control SET paused = false")
    ready.applier.stores.sqlite.connection.execute("UPDATE st_control SET paused = 0")
    assert closed(ready, max_lag=10) == {}


def test_a_changed_row_that_differs(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    ready.write("UPDATE parents SET name = 'changed' WHERE id = 2")
    ready.settle()
    ready.corrupt("UPDATE parents SET name = 'damaged' WHERE id = 2")
    assert "1 row differs: parents 2" in the_only(ready, "changes").detail
    repair(ready.applier, Verify(ready.applier).run().mismatches)
    Verify(ready.applier).run()


def test_pause_beyond_the_budget(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    gate = the_only(ready, "pause", max_pause_ms=0)
    assert "0 allowed" in gate.detail and "--max-pause-ms" in gate.remedy


def test_foreign_keys_that_cannot_be_measured(module_pair: SmallPair) -> None:
    """A long transaction on the shadow would hold the switch, too; the gate does not wait for it."""
    module_pair.move(Side.SQLITE)
    Verify(module_pair.applier).run()
    other = module_pair.raw_postgres()
    with other.transaction():
        other.execute("LOCK TABLE parents IN ROW EXCLUSIVE MODE")
        started = time.monotonic()
        assert "lock timeout" in closed(module_pair)["pause"].detail
        assert time.monotonic() - started < 5
    other.close()
    assert closed(module_pair) == {}


@pytest.mark.parametrize("event", ["insert", "update", "delete"])
def test_a_capture_trigger_lost_on_sqlite(ready: SmallPair, event: str) -> None:
    Verify(ready.applier).run()
    ready.applier.stores.sqlite.connection.execute(f"DROP TRIGGER st_capture_bars_{event}")
    assert "capture" in closed(ready)
    assert set(closed(ready)) == {"verify"}  # the round that measured the lag has put it back


@pytest.mark.parametrize("event", ["insert", "update", "delete", "truncate"])
def test_a_capture_trigger_off_on_postgres(ready: SmallPair, event: str) -> None:
    Verify(ready.applier).run()
    with broken(
        ready,
        f"ALTER TABLE children DISABLE TRIGGER st_capture_{event}",
        f"ALTER TABLE children ENABLE TRIGGER st_capture_{event}",
    ):
        gate = closed(ready)["capture"]
        assert f"st_capture_{event} on children" in gate.detail and "schema upgrade" in gate.remedy


def test_a_capture_function_of_another_table(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    trigger = (
        "CREATE OR REPLACE TRIGGER st_capture_delete AFTER DELETE ON bars REFERENCING OLD TABLE AS st_old "
        "FOR EACH STATEMENT EXECUTE FUNCTION st_capture_{}()"
    )
    with broken(ready, trigger.format("empty"), trigger.format("bars")):
        assert "st_capture_delete on bars" in closed(ready)["capture"].detail


def test_a_missing_index(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    with broken(ready, "DROP INDEX bars_symbol", "CREATE INDEX bars_symbol ON bars (symbol)"):
        assert "bars.bars_symbol" in the_only(ready, "indexes").detail


def test_another_revision(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    with broken(
        ready,
        "UPDATE alembic_version SET version_num = 'r2'",
        "UPDATE alembic_version SET version_num = 'r1'",
        Side.SQLITE,
    ):
        assert the_only(ready, "schema").detail == "revision r2 on SQLite, r1 on PostgreSQL"


def test_a_column_on_one_side_only(ready: SmallPair) -> None:
    Verify(ready.applier).run()
    with broken(ready, "ALTER TABLE empty ADD COLUMN more int", "ALTER TABLE empty DROP COLUMN more"):
        found = closed(ready)
    assert "column empty.more is only on PostgreSQL" in found["schema"].detail
    assert {"schema", "capture", "reverse"} <= found.keys()


def test_the_way_back_does_not_log(ready: SmallPair, to: Side) -> None:
    """The trigger looks right, but what it calls does nothing: only the rehearsal can tell."""
    Verify(ready.applier).run()
    if to is Side.SQLITE:
        (sql,) = ready.applier.stores.sqlite.connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'st_fence'"
        ).fetchone()
        silent = "CREATE TRIGGER st_fence BEFORE INSERT ON st_change_log BEGIN SELECT RAISE(IGNORE); END"
        with broken(ready, "DROP TRIGGER st_fence", "SELECT 1", Side.SQLITE):
            with broken(ready, silent, "DROP TRIGGER st_fence", Side.SQLITE):
                gate = closed(ready)["reverse"]
            ready.applier.stores.sqlite.connection.execute(sql)
    else:
        query = b"SELECT pg_get_functiondef('st_capture_bars'::regproc)"
        ((loud,),) = ready.applier.stores.postgres.connection.execute(query).fetchall()
        silent = (
            loud[: loud.index("BEGIN")]
            + "BEGIN RETURN NULL; /* st_admit() SELECT 'bars', \"id\" */ END $function$"
        )
        with broken(ready, silent, loud):
            found = closed(ready)
        assert list(found) == ["verify", "reverse"]
        gate = found["reverse"]
    assert "left 0 log entries" in gate.detail
    assert set(closed(ready)) == {"verify"}  # what was written meanwhile may not have been logged


def test_the_way_back_logs_what_is_applied(ready: SmallPair, to: Side) -> None:
    """Apply would be captured and come back: a trigger that knows nothing of the applier."""
    Verify(ready.applier).run()
    table = gates(ready)["reverse"].detail.split()[0]
    if to is Side.POSTGRES:
        noisy = (
            f"CREATE TRIGGER noisy AFTER INSERT ON {table} BEGIN "
            f"INSERT INTO st_change_log (tbl, k, at) VALUES ('{table}', NEW.rowid, 0); END"
        )
        with broken(ready, noisy, "DROP TRIGGER noisy", Side.SQLITE):
            found = closed(ready)
    else:
        noisy = (
            f"CREATE RULE noisy AS ON INSERT TO {table} "
            f"DO ALSO INSERT INTO st_change_log (tbl, k) VALUES ('{table}', '1')"
        )
        with broken(ready, noisy, f"DROP RULE noisy ON {table}"):
            found = closed(ready)
    assert {"capture", "reverse"} <= found.keys() <= {"capture", "verify", "reverse"}
    assert "noisy" in found["capture"].detail
    assert "there must be none" in found["reverse"].detail


def test_refusal_names_every_closed_gate() -> None:
    some = [Gate("a", True, "fine"), Gate("b", False, "bad", "mend b"), Gate("c", False, "worse", "mend c")]
    require(some[:1])
    with pytest.raises(Refused, match="2 of 3 gates are closed: b, c") as refusal:
        require(some)
    assert refusal.value.reasons == ("b: bad (mend b)", "c: worse (mend c)")
    assert refusal.value.hint == "mend b"


def test_empty_tables(tmp_path: Path, pg_url: str, to: Side) -> None:
    pair = make_small_pair(tmp_path, pg_url)
    pair.move(to.other)
    for table in ("children", "parents", "kinds", "bars", "by_text", "by_uuid", "by_both"):
        pair.write(f"DELETE FROM {table}")
    pair.settle()
    Verify(pair.applier).run()
    before = dump(pair)
    found = gates(pair)
    assert dump(pair) == before
    assert all(gate.ok for gate in found.values())
    assert "empty" in found["reverse"].detail
    for table, row in {
        "by_both": "(1, 'é', 1)",
        "by_text": "('é', 1)",
        "by_uuid": "('00000000000000000000000001234567', 1)",
    }.items():
        pair.write(f"INSERT INTO {table} VALUES {row}")
        pair.settle()
        gate = gates(pair)["reverse"]
        assert gate.ok and gate.detail.startswith(f"{table} "), gate.detail
        pair.write(f"DELETE FROM {table}")
    pair.applier.stores.close()
