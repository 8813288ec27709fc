"""P4 and P5 of prepare and backfill: kill -9 at every point, then the same call again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL

import pytest

import migration.fill.backfill as backfilling
from app.db.common.errors import SchemaDrift
from app.db.common.failpoints import Failpoint
from app.db.common.urls import Side
from app.db.sides.capture.inventory import check_postgres_inventory
from app.db.sides.phase import Phase
from migration.fill.backfill import Backfill
from tests.support.dying.zygote import Zygote
from tests.support.fixtures import Templates
from tests.support.pairs import TestPair, new_sqlite

PREPARE = [point for point in Failpoint if point.startswith("prepare.")]
COPY = [point for point in Failpoint if point.startswith("copy.")]


def _phase(pair: TestPair) -> str:
    return str(pair.pg.execute("SELECT phase FROM st_control").fetchone()[0])


def _indexes(pair: TestPair) -> set[str]:
    return {row[0] for row in pair.pg.execute("SELECT indexdef FROM pg_indexes WHERE tablename !~ '^st_'")}


def _inserts_captured(pair: TestPair) -> bool:
    """Whether inserts on PostgreSQL are captured in all tables, which they are from `replicating` on."""
    query = "SELECT count(*) FROM pg_trigger WHERE tgname = 'st_capture_insert' AND tgenabled IN ('O', 'A')"
    (found,) = pair.pg.execute(query).fetchone() or (0,)
    assert found in (0, len(pair.applier.schema()))
    return bool(found)


@pytest.mark.parametrize("point", PREPARE)
def test_killed_prepare(fresh: TestPair, zygote: Zygote, point: Failpoint) -> None:
    rows = fresh.contents(Side.SQLITE)
    assert zygote.run("prepare", fresh, failpoints=f"{point}=kill") == -SIGKILL
    triggers = fresh.lite.execute("SELECT count(*) FROM sqlite_master WHERE name GLOB 'st_*'").fetchone()[0]
    assert bool(triggers) == (point is Failpoint.PREPARE_DONE)
    fresh.lite.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")
    assert zygote.run("prepare", fresh) == 0
    assert _phase(fresh) == Phase.COPYING
    fresh.lite.execute("UPDATE item SET qty = qty - 1 WHERE id = 1")
    fresh.backfill()
    assert fresh.contents(Side.SQLITE) == rows
    fresh.assert_same()
    assert fresh.writable_sides() == {Side.SQLITE}


@pytest.mark.parametrize("point", COPY)
def test_killed_backfill(
    copying: TestPair, zygote: Zygote, point: Failpoint, clone: Callable[[str], TestPair]
) -> None:
    copying.lite.execute("UPDATE item SET qty = qty + 1")
    assert zygote.run("backfill", copying, 2, failpoints=f"{point}=kill") == -SIGKILL
    assert _inserts_captured(copying) == (_phase(copying) == Phase.REPLICATING)
    copying.lite.execute("DELETE FROM item WHERE id = 2")
    copying.lite.execute("UPDATE code SET v = 'changed'")
    assert zygote.run("backfill", copying, 2) == 0
    assert _phase(copying) == Phase.REPLICATING
    assert _inserts_captured(copying)
    copying.drain()
    copying.assert_same()
    assert _indexes(copying) == _indexes(clone("replicating"))


@pytest.mark.parametrize("point", [Failpoint.COPY_AFTER_COMMIT, Failpoint.COPY_INDEX])
def test_killed_again_and_again(copying: TestPair, zygote: Zygote, point: Failpoint) -> None:
    """Each life does one chunk or one index; all of them together do the whole work once."""
    for life in range(100):
        copying.lite.execute("UPDATE item SET qty = ? WHERE id = ?", (life, 1 + life % 5))
        if zygote.run("backfill", copying, 2, failpoints=f"{point}=kill") == 0:
            break
    assert _phase(copying) == Phase.REPLICATING
    assert life > 5
    copying.drain()
    copying.assert_same()


@pytest.mark.parametrize(
    "point",
    [
        Failpoint.APPLY_LOCKED,
        Failpoint.APPLY_READ,
        Failpoint.APPLY_BEFORE_COMMIT,
        Failpoint.APPLY_AFTER_COMMIT,
    ],
)
def test_killed_applier(pair: TestPair, primary: Side, zygote: Zygote, point: Failpoint) -> None:
    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    pair.app(primary).execute("DELETE FROM code")
    before = pair.contents(primary.other)
    assert zygote.run("round", pair, failpoints=f"{point}=kill") == -SIGKILL
    if point is Failpoint.APPLY_AFTER_COMMIT:
        pair.assert_same()
    else:
        assert pair.contents(primary.other) == before
    pair.drain()
    pair.assert_same()
    assert pair.writable_sides() == {primary}


def test_no_replicating_without_capture_of_inserts(
    copying: TestPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `prepare` leaves out and the phase that needs it come in one transaction, or neither does."""
    with monkeypatch.context() as patched:
        patched.setattr(backfilling, "capture_inserts", lambda connection, schema: None)
        with pytest.raises(SchemaDrift, match="st_capture_insert"):
            copying.backfill()
    assert (_phase(copying), _inserts_captured(copying)) == (Phase.COPYING, False)
    copying.prepare()  # again, as `run` does: it repairs what is lost and leaves out what it left out
    assert not _inserts_captured(copying)
    copying.backfill()
    assert (_phase(copying), _inserts_captured(copying)) == (Phase.REPLICATING, True)
    copying.pg.execute("DROP TRIGGER st_capture_insert ON item")
    with pytest.raises(SchemaDrift, match="st_capture_insert on item"):
        check_postgres_inventory(copying.pg, copying.applier.schema())
    copying.prepare()
    assert _inserts_captured(copying)


def test_only_inserts_may_be_uncaptured_while_copying(copying: TestPair) -> None:
    schema = copying.applier.schema()
    check_postgres_inventory(copying.pg, schema)
    copying.pg.execute("DROP TRIGGER st_capture_delete ON item")
    with pytest.raises(SchemaDrift, match="st_capture_delete on item"):
        check_postgres_inventory(copying.pg, schema)


def test_empty_tables(templates: Templates, tmp_path: Path) -> None:
    new_sqlite(tmp_path / "empty.db", seed=False)
    pair = TestPair(tmp_path / "empty.db", templates.server.create_database("empty_pair"))
    pair.prepare()
    assert pair.backfill() == 0
    pair.lite.execute("INSERT INTO item (name) VALUES ('first')")
    pair.drain()
    pair.assert_same()
    pair.close()
    templates.server.drop_database("empty_pair")


def test_range_cuts(fresh: TestPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table in several ranges, with gaps and negative keys, and rows that appear outside all bounds."""
    monkeypatch.setattr("migration.fill.ranges.RANGE_ROWS", 10)
    for n in (*range(-40, 40, 2), *range(1000, 1040)):
        fresh.lite.execute("INSERT OR REPLACE INTO counter (id, n) VALUES (?, ?)", (n, n))
    fresh.prepare()
    ranges = fresh.pg.execute(
        "SELECT after, upto FROM st_copy_range WHERE tbl = 'counter' ORDER BY n"
    ).fetchall()
    assert len(ranges) > 5
    assert [upto for _, upto in ranges[:-1]] == [after for after, _ in ranges[1:]]
    assert (ranges[0][0], ranges[-1][1]) == (None, None)
    fresh.lite.execute("INSERT INTO counter (id, n) VALUES (-5000, 1), (5000, 2)")
    fresh.applier.round()
    fresh.lite.execute("UPDATE counter SET n = n + 1 WHERE id % 4 = 0")
    fresh.backfill(chunk_rows=3)
    fresh.assert_same()


def test_backfill_again_is_nothing(replicating: TestPair) -> None:
    assert Backfill(replicating.applier).run() == 0
    replicating.assert_same()


def test_the_environment_arms_a_failpoint(zygote: Zygote, copying: TestPair) -> None:
    """What kills in all these tests is the variable that an operator would set."""
    assert zygote.run("backfill", copying, 2, failpoints="copy.done=raise") == 1
    assert _phase(copying) == Phase.REPLICATING
