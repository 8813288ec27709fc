"""P2: the side that is not primary refuses every write, from any connection, and says why."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.sides.capture.triggers import FENCED_SQLSTATE, FENCED_TEXT, fence_refusal
from app.db.switch.coordinator import Aborted, Moved
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair, wait_until

SQLITE_WRITES = [
    "INSERT INTO item (name) VALUES ('new')",
    "INSERT OR IGNORE INTO item (name) VALUES ('new')",
    "INSERT OR REPLACE INTO item (id, name) VALUES (1, 'new')",
    "INSERT OR FAIL INTO item (name) VALUES ('new')",
    "INSERT OR ROLLBACK INTO item (name) VALUES ('new')",
    "REPLACE INTO item (name) VALUES ('two')",
    "INSERT INTO item (name) VALUES ('two') ON CONFLICT (name) DO UPDATE SET qty = 0",
    "UPDATE item SET qty = 0",
    "UPDATE OR IGNORE item SET qty = 0",
    "UPDATE OR REPLACE item SET name = 'one'",
    "DELETE FROM item WHERE id = 1",
    "DELETE FROM item",
    "REPLACE INTO plain VALUES ('a', 1, 'x')",
]
POSTGRES_WRITES = [
    "INSERT INTO item (name) VALUES ('new')",
    "INSERT INTO item (name) VALUES ('two') ON CONFLICT DO NOTHING",
    "INSERT INTO item (name) VALUES ('two') ON CONFLICT (name) DO UPDATE SET qty = 0",
    "UPDATE item SET qty = 0",
    "DELETE FROM item",
    "TRUNCATE item",
    "MERGE INTO item t USING (VALUES (1)) s (id) ON t.id = s.id WHEN MATCHED THEN DELETE",
    "COPY item (name) FROM PROGRAM 'echo new'",
    "WITH gone AS (DELETE FROM item RETURNING id) SELECT count(*) FROM gone",
    "DO $$ BEGIN UPDATE item SET qty = 0; EXCEPTION WHEN unique_violation THEN NULL; END $$",
]


@pytest.mark.parametrize(
    "pragma",
    ["recursive_triggers = 1", "foreign_keys = 1", "ignore_check_constraints = 1", "trusted_schema = 0"],
)
@pytest.mark.parametrize("statement", SQLITE_WRITES)
def test_sqlite_refuses(shared_promoted: TestPair, statement: str, pragma: str) -> None:
    before = shared_promoted.contents(Side.SQLITE)
    lite = shared_promoted.new_lite()
    lite.execute(f"PRAGMA {pragma}")
    # Not an IntegrityError: a framework would take the refusal for a duplicate key, and try for ever.
    with pytest.raises(sqlite3.OperationalError) as refusal:
        lite.execute(statement)
    lite.close()
    assert refusal.value.sqlite_errorcode == sqlite3.SQLITE_ERROR
    assert fence_refusal(refusal.value) == f"sqlite {FENCED_TEXT}: the primary is postgres (epoch 2)"
    assert shared_promoted.contents(Side.SQLITE) == before
    assert shared_promoted.log_size(Side.SQLITE) == 0


@pytest.mark.parametrize("statement", SQLITE_WRITES)
def test_a_refused_statement_leaves_nothing_in_the_transaction_around_it(
    shared_promoted: TestPair, statement: str
) -> None:
    before = shared_promoted.contents(Side.SQLITE)
    lite = shared_promoted.new_lite()
    lite.execute("BEGIN")
    with pytest.raises(sqlite3.OperationalError, match=FENCED_TEXT):
        lite.execute(statement)
    if lite.in_transaction:
        lite.execute("COMMIT")
    lite.close()
    assert shared_promoted.contents(Side.SQLITE) == before
    assert shared_promoted.log_size(Side.SQLITE) == 0


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="there is no sqlite3 shell here")
def test_a_side_without_its_control_row_takes_no_writes(pair: TestPair, primary: Side) -> None:
    """Nobody can say then who is primary, nor whether the write would be logged."""
    before = {side: pair.contents(side) for side in Side}
    for side in Side:
        pair.app(side).execute("DELETE FROM st_control")
        with pytest.raises(
            (sqlite3.OperationalError, psycopg.OperationalError), match="takes no application writes"
        ):
            pair.app(side).execute("UPDATE item SET qty = qty + 1")
    assert {side: pair.contents(side) for side in Side} == before


def test_a_plain_shell_reads_who_is_primary(shared_promoted: TestPair) -> None:
    command = ["sqlite3", str(shared_promoted.path), "UPDATE item SET qty = 0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"sqlite {FENCED_TEXT}: the primary is postgres (epoch 2)" in done.stderr


@pytest.mark.parametrize("statement", POSTGRES_WRITES)
def test_postgres_refuses(shared_replicating: TestPair, statement: str) -> None:
    before = shared_replicating.contents(Side.POSTGRES)
    with pytest.raises(psycopg.OperationalError) as refusal:
        shared_replicating.pg.execute(statement.encode())
    assert refusal.value.sqlstate == FENCED_SQLSTATE
    assert refusal.value.diag.message_primary == f"postgres {FENCED_TEXT}: the primary is sqlite (epoch 1)"
    assert shared_replicating.contents(Side.POSTGRES) == before
    assert shared_replicating.log_size(Side.POSTGRES) == 0


def test_a_process_that_never_heard_of_the_switch(promoted: TestPair, zygote: Zygote) -> None:
    assert zygote.run("write_sqlite", promoted, "UPDATE item SET qty = 0") == 1
    promoted.moved(Side.SQLITE)
    assert zygote.run("write_postgres", promoted, "UPDATE item SET qty = 0") == 1
    assert zygote.run("write_sqlite", promoted, "UPDATE item SET qty = 0") == 0


def test_the_message_names_primary_and_epoch_after_each_switch(replicating: TestPair) -> None:
    for epoch, to in enumerate((Side.POSTGRES, Side.SQLITE, Side.POSTGRES, Side.SQLITE), start=2):
        replicating.moved(to)
        with pytest.raises(
            (sqlite3.OperationalError, psycopg.OperationalError), match=rf"primary is {to} \(epoch {epoch}\)"
        ):
            replicating.app(to.other).execute("UPDATE item SET qty = 0")


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_opened_before_the_switch_cannot_write_after_it(
    promoted: TestPair, isolation: str
) -> None:
    """Its snapshot still shows PostgreSQL as primary."""
    promoted.pg.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
    promoted.pg.execute("SELECT count(*) FROM item")
    promoted.moved(Side.SQLITE)
    with pytest.raises(psycopg.Error) as refusal:
        promoted.pg.execute("UPDATE item SET qty = 0")
    assert refusal.value.sqlstate in (FENCED_SQLSTATE, "40001")
    promoted.pg.execute("ROLLBACK")
    promoted.assert_same()


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_reader_may_go_on_through_the_switch(promoted: TestPair, isolation: str) -> None:
    promoted.pg.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
    assert promoted.pg.execute("SELECT count(*) FROM item").fetchone() == (5,)
    promoted.moved(Side.SQLITE)
    assert promoted.pg.execute("SELECT count(*) FROM item").fetchone() == (5,)
    promoted.pg.execute("COMMIT")


def test_a_writer_in_flight_is_waited_for(pair: TestPair, primary: Side) -> None:
    """Its commit comes before the fence, so its row is on the other side afterwards."""
    writer = pair.new_lite() if primary is Side.SQLITE else pair.new_pg()
    outcomes: list[Moved | Aborted] = []
    coordinator = pair.new_applier()
    begun = threading.Event()

    def switch() -> None:
        with arm(Failpoint.SWITCH_BEGUN, begun.set):
            outcomes.append(pair.move(primary.other, applier=coordinator))

    writer.execute("BEGIN")
    if primary is Side.POSTGRES:
        writer.execute("UPDATE item SET qty = 4711 WHERE id = 1")
        thread = threading.Thread(target=switch)
        thread.start()
        wait_until(lambda: _somebody_waits_for_the_writers(pair))
    else:
        # Apply reads beside an open write transaction, so the coordinator comes as far as the fence.
        writer.execute("UPDATE item SET qty = 4711 WHERE id = 1")
        thread = threading.Thread(target=switch)
        thread.start()
        assert begun.wait(20)
    writer.execute("COMMIT")
    thread.join(30)
    assert isinstance(outcomes[0], Moved)
    assert pair.app(primary.other).execute("SELECT qty FROM item WHERE id = 1").fetchone() == (4711,)
    pair.assert_same()


def _somebody_waits_for_the_writers(pair: TestPair) -> bool:
    row = pair.pg.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return row is not None and row[0] == 1


def test_a_writer_that_does_not_end_aborts_the_switch(promoted: TestPair) -> None:
    writer = promoted.new_pg()
    writer.execute("BEGIN")
    writer.execute("UPDATE item SET qty = 4711 WHERE id = 1")
    outcome = promoted.move(Side.SQLITE, max_pause_ms=200)
    assert isinstance(outcome, Aborted)
    assert outcome.retryable
    writer.execute("COMMIT")
    assert promoted.writable_sides() == {Side.POSTGRES}
    promoted.moved(Side.SQLITE)
    promoted.assert_same()


def test_a_locked_sqlite_file_aborts_the_switch(pair: TestPair, primary: Side) -> None:
    """Another process sits on the file's write lock: as primary it cannot be fenced, as shadow not drained."""
    coordinator = pair.new_applier(sqlite_busy_timeout_ms=100)
    blocker = pair.new_lite()

    def block() -> None:
        if not blocker.in_transaction:
            blocker.execute("BEGIN IMMEDIATE")

    point = Failpoint.SWITCH_BEGUN if primary is Side.SQLITE else Failpoint.SWITCH_FENCED
    with arm(point, block):
        outcome = pair.move(primary.other, applier=coordinator)
    assert isinstance(outcome, Aborted)
    assert "locked" in outcome.reason
    blocker.execute("ROLLBACK")
    assert pair.writable_sides() == {primary}
    pair.moved(primary.other)


def test_an_applier_of_an_older_epoch_changes_nothing(replicating: TestPair) -> None:
    """It holds the shadow's lock over the promotion only in its imagination: the lock decides."""
    stale = replicating.new_applier()
    assert stale.round()
    replicating.moved(Side.POSTGRES)
    replicating.pg.execute("UPDATE item SET qty = 4711 WHERE id = 1")
    stale.round()
    replicating.assert_same()
    assert replicating.pg.execute("SELECT qty FROM item WHERE id = 1").fetchone() == (4711,)


def test_applying_is_bound_to_the_epoch(promoted: TestPair) -> None:
    """A session that still carries an old applier's mark is an ordinary, logged writer."""
    promoted.pg.execute("SET st.applying = '1'")
    promoted.pg.execute("UPDATE item SET qty = 5 WHERE id = 1")
    assert promoted.logged(Side.POSTGRES, "item") == {(1,)}


@pytest.fixture(scope="module")
def shared(templates: object, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TestPair]:
    from tests.support.fixtures import Templates

    assert isinstance(templates, Templates)
    made: dict[str, TestPair] = {}

    def get(stage: str) -> TestPair:
        if stage not in made:
            made[stage] = templates.clone(stage, Path(tmp_path_factory.mktemp(stage)) / "shared.db")
        return made[stage]

    yield get
    for pair in made.values():
        pair.close()
        templates.server.drop_database(str(pair.pair.postgres.database))


@pytest.fixture
def shared_promoted(shared: Callable[[str], TestPair]) -> TestPair:
    """One pair for all refusals: nothing changes it."""
    return shared("promoted")


@pytest.fixture
def shared_replicating(shared: Callable[[str], TestPair]) -> TestPair:
    return shared("replicating")
