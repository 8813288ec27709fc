"""P3 and P4 of apply: every value arrives as it was, swaps do not collide, doing it twice changes nothing."""

from __future__ import annotations

import math
import threading
from signal import SIGKILL

import psycopg
import pytest

from app.db.apply.outcome import Round, Skipped
from app.db.common.errors import SchemaDrift
from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.db.common.urls import Side
from app.db.sides.capture.inventory import check_postgres_inventory
from app.db.sides.capture.triggers import check_inventory
from app.db.sides.postgres.target import COPY_FROM
from app.db.switch.coordinator import Aborted
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair, wait_until

# Column of `kinds`: values in SQL that means the same on both databases, given per side where it does not.
BOTH = {
    "i": ["0", "-1", "2147483648", "-9223372036854775808", "9223372036854775807"],
    "big": ["9007199254740993", "-9007199254740993"],
    "f": ["0.1", "1e308", "5e-324", "1.7976931348623157e308", "-0.0", "0.1 + 0.2", "123456789.123456789", "3"],
    "t": ["''", "' '", "'NULL'", "'\\N'", "'\\\\.'", "'a\tb\nc\rd\\e'", "'üñ日本🎉'", "'''\"'", "'\x01\x7f'", "'%s {x}'"],
    "ts": ["'2026-01-02 03:04:05.000001'", "'2026-01-02 03:04:05.100000'", "'0001-01-01 00:00:00.000000'",
           "'9999-12-31 23:59:59.999999'", "'2026-01-02 03:04:05'"],
    "d": ["'2024-02-29'", "'0001-01-01'", "'9999-12-31'"],
    "tm": ["'00:00:00.000000'", "'23:59:59.999999'", "'10:00:00'"],
    "num": ["0", "1.5", "-0.000000001", "123456"],
    "u": ["'ffffffffffffffffffffffffffffffff'", "'00000000000000000000000000000000'"],
    "j": ["'{\"a\": [1, 2.50, null]}'", "'[]'", "'\"text\"'", "'{\"b\":1,\"a\":2, \"a\":3}'"],
}  # fmt: skip
SQLITE_ONLY = {
    "b": ["0", "1"],
    "f": ["9e999", "-9e999"],
    "bl": ["x''", "x'00ff'", "zeroblob(100000)"],
    "ts": ["'2026-01-02T03:04'"],
}
POSTGRES_ONLY = {
    "b": ["true", "false"],
    "f": ["'Infinity'", "'-Infinity'"],
    "bl": ["''::bytea", "'\\x00ff'::bytea", "decode(repeat('00', 100000), 'hex')"],
}


@pytest.mark.parametrize("copies", [1, COPY_FROM], ids=["pipelined", "by_copy"])
def test_every_kind_of_column_bit_for_bit(pair: TestPair, primary: Side, copies: int) -> None:
    connection = pair.app(primary)
    own = SQLITE_ONLY if primary is Side.SQLITE else POSTGRES_ONLY
    connection.execute("BEGIN")
    for values in (BOTH, own):
        for column, texts in values.items():
            for text in texts:
                connection.execute(f"INSERT INTO kinds ({column}) VALUES ({text})")
    for n in range(copies - 1):
        connection.execute(f"INSERT INTO kinds (id, t) VALUES ({10_000 + n}, 'filler {n}')")
    connection.execute("COMMIT")
    assert pair.drain().refused == 0
    pair.assert_same()
    before = pair.contents(primary)
    pair.moved(primary.other)
    connection = pair.app(primary.other)
    connection.execute("UPDATE kinds SET id = id + 100000")  # every value makes the way back
    pair.drain()
    pair.assert_same()
    rows = [row[1:] for row in sorted(before["kinds"].values())]
    assert [row[1:] for row in sorted(pair.contents(primary)["kinds"].values())] == rows


def test_a_five_megabyte_text(pair: TestPair, primary: Side) -> None:
    mark = "?" if primary is Side.SQLITE else "%s"
    pair.app(primary).execute(f"UPDATE kinds SET t = {mark} WHERE id = 1", ("ü\t" * 2_500_000,))
    pair.drain()
    pair.assert_same()


def test_a_database_with_other_defaults_reads_the_same(clone: object) -> None:
    """Dates and floats are read as text on the way to SQLite; their form must not be the server's choice."""
    pair: TestPair = clone("promoted")
    for setting in ("DateStyle = 'German'", "extra_float_digits = 0", "TimeZone = 'Asia/Kolkata'"):
        pair.pg.execute(f"ALTER DATABASE {pair.pair.postgres.database} SET {setting}".encode())
    pair.pg.execute("UPDATE kinds SET f = 0.1::float8 + 0.2, ts = '2026-02-01 03:04:05.6', d = '2026-02-01'")
    pair.drain()
    pair.assert_same()


SWAPS = {
    "pair": ["UPDATE item SET name = 'tmp' WHERE id = 1", "UPDATE item SET name = 'one' WHERE id = 2",
             "UPDATE item SET name = 'two' WHERE id = 1"],
    "chain": ["UPDATE item SET name = 'tmp' WHERE id = 1", "UPDATE item SET name = 'one' WHERE id = 4",
              "UPDATE item SET name = 'four' WHERE id = 3", "UPDATE item SET name = 'three' WHERE id = 2",
              "UPDATE item SET name = 'two' WHERE id = 1"],
    "handed_on": ["DELETE FROM item WHERE id = 2", "INSERT INTO item (id, name) VALUES (90, 'two')"],
    "primary_keys": ["UPDATE item SET id = 100 WHERE id = 1", "UPDATE item SET id = 1 WHERE id = 2",
                     "UPDATE item SET id = 2 WHERE id = 100"],
    "unique_pair": ["UPDATE item SET slot = slot + 10 WHERE lane = 1", "UPDATE item SET slot = 14 - slot WHERE lane = 1"],
}  # fmt: skip


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("filler", [0, COPY_FROM], ids=["small", "large"])
def test_unique_values_that_change_hands_in_one_round(
    pair: TestPair, primary: Side, swap: str, filler: int
) -> None:
    connection = pair.app(primary)
    for statement in SWAPS[swap]:
        connection.execute(statement)
    if filler:
        connection.execute("BEGIN")
        for n in range(filler):
            connection.execute(f"INSERT INTO item (id, name) VALUES ({1000 + n}, 'filler {n}')")
        connection.execute("COMMIT")
    pair.drain()
    pair.assert_same()


def test_many_changes_of_one_row_are_one(pair: TestPair, primary: Side) -> None:
    for n in range(20):
        pair.app(primary).execute(f"UPDATE item SET qty = {n} WHERE id = 1")
    assert pair.drain().changes == 20
    pair.assert_same()


def test_the_same_round_twice(pair: TestPair, primary: Side) -> None:
    """As after a restored watermark: every entry of the log is applied again."""
    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    pair.app(primary).execute("DELETE FROM item WHERE id = 2")
    first = pair.drain()
    pair.app(primary.other).execute("UPDATE st_watermark SET position = '0'")
    pair.applier.forget_resume_point()  # a slow machine has one here already
    again = pair.drain()
    assert again.changes >= first.changes
    pair.assert_same()


def test_lost_acknowledgement_of_the_commit(pair: TestPair, primary: Side) -> None:
    """The round is durable, the applier does not know: it asks again and finds nothing to do."""
    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    with arm(Failpoint.APPLY_AFTER_COMMIT, "raise"), pytest.raises(FailpointError):
        pair.applier.round()
    pair.assert_same()
    changes = pair.app(primary.other).execute("SELECT changes FROM st_watermark").fetchone()
    assert pair.drain().changes == 0
    assert pair.app(primary.other).execute("SELECT changes FROM st_watermark").fetchone() == changes


def test_the_connection_is_lost_in_the_middle(replicating: TestPair) -> None:
    replicating.lite.execute("UPDATE item SET qty = qty + 1")
    pid = replicating.applier.stores.postgres.connection.info.backend_pid
    before = replicating.contents(Side.POSTGRES)

    def cut() -> None:
        replicating.pg.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    with arm(Failpoint.APPLY_BEFORE_COMMIT, cut), pytest.raises(psycopg.OperationalError):
        replicating.applier.round()
    assert replicating.contents(Side.POSTGRES) == before
    assert replicating.drain().changes > 0
    replicating.assert_same()


@pytest.mark.parametrize(
    "point", [Failpoint.APPLY_LOCKED, Failpoint.APPLY_READ, Failpoint.APPLY_BEFORE_COMMIT]
)
def test_a_round_that_fails_leaves_nothing(pair: TestPair, primary: Side, point: Failpoint) -> None:
    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    before = pair.contents(primary.other)
    with arm(point, "raise"), pytest.raises(FailpointError):
        pair.applier.round()
    assert pair.contents(primary.other) == before
    assert pair.drain().changes > 0
    pair.assert_same()


def test_two_appliers_at_once_take_turns(pair: TestPair, primary: Side) -> None:
    """The second waits for the lock, reads the primary only then, and finds nothing left."""
    first, second = pair.new_applier(), pair.new_applier()
    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    at_commit, go_on = threading.Event(), threading.Event()
    outcomes: dict[str, Round | Skipped] = {}

    def stop_once() -> None:
        if not at_commit.is_set():
            at_commit.set()
            assert go_on.wait(20)

    with arm(Failpoint.APPLY_BEFORE_COMMIT, stop_once):
        one = threading.Thread(target=lambda: outcomes.update(one=first.round()))
        one.start()
        assert at_commit.wait(20)
        two = threading.Thread(target=lambda: outcomes.update(two=second.round()))
        two.start()
        if primary is Side.SQLITE:
            wait_until(lambda: _waits_for_the_watermark(pair))
        go_on.set()
        one.join(30)
        two.join(30)
    assert isinstance(outcomes["one"], Round)
    assert isinstance(outcomes["two"], Round)
    assert outcomes["one"].changes > 0
    assert outcomes["two"].changes == 0
    pair.assert_same()


def _waits_for_the_watermark(pair: TestPair) -> bool:
    row = pair.pg.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return row is not None and row[0] == 1


def test_drain_ends_under_steady_writes(pair: TestPair, primary: Side) -> None:
    connection = pair.app(primary)
    rounds = 0

    def write() -> None:
        nonlocal rounds
        rounds += 1
        assert rounds < 50, "drain does not end"
        connection.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")

    with arm(Failpoint.APPLY_LOCKED, write):
        assert isinstance(pair.applier.drain(), Round)


def test_paused_apply_stands_and_loses_nothing(replicating: TestPair) -> None:
    replicating.pg.execute("UPDATE st_control SET paused = true")
    replicating.lite.execute("UPDATE item SET qty = 5")
    assert replicating.applier.round() == Skipped("paused")
    replicating.pg.execute("UPDATE st_control SET paused = false")
    replicating.drain()
    replicating.assert_same()
    replicating.pg.execute("UPDATE st_control SET paused = true")
    replicating.lite.execute("UPDATE item SET qty = 6")
    replicating.moved(Side.POSTGRES)  # a switch drains it all the same
    replicating.assert_same()


DRIFTS = {
    "column_on_sqlite": ("ALTER TABLE item ADD COLUMN extra TEXT", "ALTER TABLE item DROP COLUMN extra"),
    "table_on_sqlite": ("CREATE TABLE extra (id INTEGER PRIMARY KEY)", "DROP TABLE extra"),
}  # fmt: skip


@pytest.mark.parametrize("case", DRIFTS)
def test_schema_drift_stops_apply_and_loses_nothing(replicating: TestPair, case: str) -> None:
    change, undo = DRIFTS[case]
    replicating.drain()
    replicating.lite.execute("UPDATE stray SET v = 'before'")
    replicating.lite.executescript(change)
    replicating.lite.execute("UPDATE pairkey SET v = 'after'")
    before = replicating.contents(Side.POSTGRES)
    for _ in range(2):
        with pytest.raises(SchemaDrift):
            replicating.applier.round()
    assert replicating.contents(Side.POSTGRES) == before
    replicating.lite.execute(undo)
    replicating.drain()
    replicating.assert_same()


LOST = {
    "trigger_dropped": "DROP TRIGGER st_capture_item_update",
    "fence_dropped": "DROP TRIGGER st_fence",
    "table_recreated": (
        "CREATE TABLE _new AS SELECT * FROM owner; DROP TABLE owner; "
        "CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT UNIQUE); "
        "INSERT INTO owner SELECT * FROM _new; DROP TABLE _new"
    ),
}


@pytest.mark.parametrize("case", LOST)
def test_lost_capture_is_put_back_and_nothing_is_missed(replicating: TestPair, case: str) -> None:
    replicating.drain()
    _leave_a_verify(replicating)
    replicating.lite.executescript(LOST[case])
    replicating.lite.execute("UPDATE item SET qty = 901")
    replicating.lite.execute("INSERT INTO owner (id, name) VALUES (4711, 'uncaught')")
    replicating.drain()
    replicating.assert_same()
    check_inventory(replicating.lite, replicating.applier.schema())
    assert replicating.pg.execute("SELECT count(*) FROM st_verify").fetchone() == (0,)
    replicating.lite.execute("UPDATE item SET qty = 902")
    replicating.lite.execute("DELETE FROM owner WHERE id = 4711")
    replicating.drain()
    replicating.assert_same()


def test_lost_capture_on_a_postgres_primary_is_put_back(promoted: TestPair) -> None:
    promoted.drain()
    _leave_a_verify(promoted)
    promoted.pg.execute("ALTER TABLE item DISABLE TRIGGER st_capture_update")
    promoted.pg.execute("UPDATE item SET qty = 901")
    promoted.applier.forget_schema()
    promoted.drain()
    promoted.assert_same()
    check_postgres_inventory(promoted.pg, promoted.applier.schema())
    assert promoted.pg.execute("SELECT count(*) FROM st_verify").fetchone() == (0,)


def test_a_kill_while_capture_is_put_back_forgets_the_verify_first(
    replicating: TestPair, zygote: Zygote
) -> None:
    replicating.drain()
    _leave_a_verify(replicating)
    replicating.lite.execute("DROP TRIGGER st_capture_item_update")
    replicating.lite.execute("UPDATE item SET qty = 901")
    replicating.lite.execute("UPDATE stray SET v = 'caught'")
    point = Failpoint.CAPTURE_HEALING
    assert zygote.run("round", replicating, failpoints=f"{point}=kill") == -SIGKILL
    assert replicating.pg.execute("SELECT count(*) FROM st_verify").fetchone() == (0,)
    replicating.drain()
    replicating.assert_same()


def _leave_a_verify(pair: TestPair) -> None:
    pair.pg.execute(
        "INSERT INTO st_verify (id, run, epoch, position, started_at, finished_at, tables, rows, mismatches) "
        "VALUES (1, 'x', 1, '0', 0, 0, '[]', 0, 0) ON CONFLICT (id) DO NOTHING"
    )


def test_a_position_beyond_the_log_is_not_taken_back(pair: TestPair, primary: Side) -> None:
    """An empty round leaves the watermark alone."""
    pair.app(primary).execute("UPDATE item SET qty = 1")
    position = pair.drain().position
    assert pair.drain().position == position


def test_infinity_is_a_number_and_nan_is_set_aside(promoted: TestPair) -> None:
    promoted.pg.execute("UPDATE kinds SET f = 'Infinity' WHERE id = 1")
    promoted.drain()
    assert promoted.lite.execute("SELECT f FROM kinds WHERE id = 1").fetchone() == (math.inf,)
    promoted.pg.execute("UPDATE kinds SET f = 'NaN' WHERE id = 1")
    promoted.drain()
    outcome = promoted.move(Side.SQLITE)
    assert isinstance(outcome, Aborted)
    assert "kinds 1" in outcome.reason
    assert promoted.writable_sides() == {Side.POSTGRES}
