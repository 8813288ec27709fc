"""What went into an archive comes back as it was, and stays for a while; in every dual-write mode on both sides."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from app.models import Alert, AlertDefinition, AlertEvent, Candle, Order, OrderJob, Strategy, SystemEvent
from app.retention import archive
from app.retention.__main__ import main
from app.retention.archive import BadArchive, OtherDatabase
from app.retention.restore import restore
from tests.backend.living.conftest import Store
from tests.backend.living.rows import (
    NOW,
    TABLES,
    add_alert,
    add_bars,
    add_definition,
    add_user,
    days_ago,
    ids,
)
from tests.backend.served import Served

Contents = dict[str, list[tuple[Any, ...]]]


def contents(store: Store) -> Contents:
    """All rows of the tables that have rules, and of the orders."""
    with store.sessions() as db:
        tables = [model.__table__ for model in (*TABLES, Order)]
        return {
            table.name: [tuple(row) for row in db.execute(select(table).order_by(table.c.id))]
            for table in tables
        }


def _fill(store: Store) -> None:
    with store.sessions() as db:
        user = add_user(db)
        definition = add_definition(db, user)
        for number in range(70):
            add_alert(db, 400 - number, "EXECUTED")
            db.add(
                AlertEvent(
                    alert_definition_id=definition, user_id=user, symbol="X", triggered_at=days_ago(300)
                )
            )
            db.add(
                SystemEvent(
                    level="INFO", category="c", message="\U0001f4c8", created_at=days_ago(200 + number)
                )
            )
        add_bars(db, "1m", days_ago(100).replace(tzinfo=None), 600, timedelta(minutes=1))
        db.commit()


def _restore_all(store: Store, hold: timedelta = timedelta(days=30)) -> list[Any]:
    return [restore(store.sessions, path, store.folder, NOW, hold) for path in archive.listed(store.folder)]


def test_everything_comes_back_as_it_was_and_stays(store: Store) -> None:
    _fill(store)
    before = contents(store)
    result = store.retention().run(NOW)
    assert result.rows == 69 + 69 + 69 + 100
    restored = _restore_all(store)
    assert sum(one.restored for one in restored) == result.rows
    assert sum(one.linked for one in restored) == 69
    with store.sessions() as db:
        db.execute(delete(SystemEvent).where(SystemEvent.category == "retention"))
        db.commit()
    assert contents(store) == before
    again = _restore_all(store)
    assert (sum(one.already for one in again), sum(one.restored for one in again)) == (result.rows, 0)
    assert store.retention().run(NOW + timedelta(days=1)).rows == 0
    assert store.retention().run(NOW + timedelta(days=31)).rows >= result.rows


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_a_row_that_is_there_with_other_content_is_left_alone(store: Store) -> None:
    _fill(store)
    store.retention().run(NOW)
    _restore_all(store)
    with store.sessions() as db:
        first = min(ids(db, Alert))
        db.execute(update(Alert).where(Alert.id == first).values(reason="another"))
        db.commit()
    assert [one.differing for one in _restore_all(store) if one.differing] == [[first]]
    with store.sessions() as db:
        assert db.get_one(Alert, first).reason == "another"


def test_a_parent_that_is_gone_leaves_null_or_refuses_the_row(store: Store) -> None:
    with store.sessions() as db:
        strategy = Strategy(name="s")
        db.add(strategy)
        db.flush()
        alert, _ = add_alert(db, 400)
        db.execute(update(Alert).values(strategy_id=strategy.id))
        add_alert(db, 1)
        user = add_user(db)
        definition = add_definition(db, user)
        for age in (300, 200):
            db.add(
                AlertEvent(
                    alert_definition_id=definition, user_id=user, symbol="X", triggered_at=days_ago(age)
                )
            )
        db.commit()
    assert store.retention().run(NOW).rows == 2
    with store.sessions() as db:
        db.execute(delete(AlertEvent))
        db.execute(delete(AlertDefinition))
        db.execute(delete(Strategy))
        db.commit()
    restored = _restore_all(store)
    assert sorted(one.without_parent for one in restored) == [[], [alert]]
    assert sum(len(one.refused) for one in restored) == 1
    with store.sessions() as db:
        assert db.get_one(Alert, alert).strategy_id is None


def test_a_row_whose_unique_key_another_row_has_taken_is_named(store: Store) -> None:
    """Bars that went may be loaded again, with ids of their own, before the archive comes back."""
    with store.sessions() as db:
        add_bars(db, "1m", days_ago(100).replace(tzinfo=None), 600, timedelta(minutes=1))
        db.commit()
        first, *others = db.execute(select(Candle.id, Candle.ts).order_by(Candle.ts)).all()
    assert store.retention().run(NOW).rows == 100
    with store.sessions() as db:
        again = {"symbol": "INFY", "exchange": "NSE", "timeframe": "1m", "ts": first.ts}
        db.add(Candle(**again, open=9, high=9, low=9, close=9))
        db.commit()
    restored = _restore_all(store)
    assert [one.replaced for one in restored if one.replaced] == [[first.id]]
    assert sum(one.restored for one in restored) == 99
    with store.sessions() as db:
        assert db.scalars(select(Candle.open).where(Candle.ts == first.ts)).all() == [9.0]
        assert {row.id for row in others} <= ids(db, Candle)


def test_no_later_row_gets_the_id_of_a_restored_one(living: Callable[[str], Store], tmp_path: Path) -> None:
    """A base that was set back to an older state has not given these ids out yet."""
    store, older = living("sqlite"), living("postgres")
    store.folder, older.folder = tmp_path / "archive", tmp_path / "older"
    try:
        with store.sessions() as db:
            for _ in range(9):
                add_alert(db, 400)
            db.commit()
        assert store.retention().run(NOW).rows == 8
        with older.sessions() as db:
            db.execute(text("ALTER SEQUENCE alerts_id_seq RESTART WITH 1"))
            db.commit()
        (path,) = archive.listed(store.folder)
        assert restore(older.sessions, path, older.folder, NOW).restored == 8
        with older.sessions() as db:
            there = ids(db, Alert)
            assert add_alert(db, 0)[0] == max(there) + 1
            db.commit()
    finally:
        store.settle()
        older.settle()


def test_an_archive_of_another_database_is_refused(living: Callable[[str], Store], tmp_path: Path) -> None:
    """Its ids would mean other rows: an alert of a stranger would be linked to the order that has this id here."""
    store, foreign = living("sqlite"), living("postgres")
    store.folder, foreign.folder = tmp_path / "archive", tmp_path / "foreign"
    try:
        for base in (store, foreign):
            with base.sessions() as db:
                user = add_user(db)
                for _ in range(2):
                    add_alert(db, 400, "EXECUTED", user_id=user)
                db.commit()
        assert store.retention().run(NOW).rows == 1
        assert foreign.retention().run(NOW).rows == 1
        (path,) = archive.listed(store.folder)
        before = contents(foreign)
        with pytest.raises(OtherDatabase, match="first user"):
            restore(foreign.sessions, path, foreign.folder, NOW)
        assert contents(foreign) == before
        assert restore(store.sessions, path, store.folder, NOW).restored == 1
        assert restore(foreign.sessions, path, foreign.folder, NOW, other_database=True).restored == 1
    finally:
        store.settle()
        foreign.settle()


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_file_that_was_changed_is_refused_and_changes_nothing(store: Store) -> None:
    _fill(store)
    store.retention().run(NOW)
    path = archive.listed(store.folder)[0]
    text = gzip.decompress(path.read_bytes()).replace(b"1", b"2", 1)
    path.write_bytes(gzip.compress(text))
    before = contents(store)
    with pytest.raises(BadArchive, match="checksum differs"):
        restore(store.sessions, path, store.folder, NOW)
    assert contents(store) == before


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_any_tool_can_check_and_read_an_archive(store: Store) -> None:
    _fill(store)
    store.retention().run(NOW)
    path = archive.listed(store.folder)[0]
    checked = subprocess.run(
        ["sha256sum", "-c", f"{path.name}.sha256"], cwd=path.parent, check=False, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr
    header, first = gzip.decompress(path.read_bytes()).decode().splitlines()[:2]
    assert '"format":1' in header
    assert '"row":{' in first


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_what_left_sqlite_comes_back_to_postgres(store: Store, living: Any, tmp_path: Path) -> None:
    _fill(store)
    before = contents(store)
    store.retention().run(NOW)
    other: Store = living("postgres")
    other.folder = tmp_path / "other"
    try:
        for path in archive.listed(store.folder):
            if path.parent.name in ("candles.1m", "system_events"):
                restore(other.sessions, path, other.folder, NOW)
        after = contents(other)
        for table in (Candle.__tablename__, SystemEvent.__tablename__):
            assert after[table] == [row for row in before[table] if row in after[table]]
            assert len(after[table]) in (69, 100)
    finally:
        other.settle()


def test_the_command_refuses_what_is_no_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "restore", str(tmp_path / "nothing-1-2.jsonl.gz")]) == 2
    assert "not named after a table" in capsys.readouterr().out


KINDS = [f"{mode}-{primary}" for mode in DualWrite for primary in Side]
ROWS = 60


def _on(pair: Served, side: Side) -> list[list[tuple[Any, ...]]]:
    """What a side holds of the rows that go, and of the links to them."""
    questions = (
        "SELECT id, alert_id FROM orders ORDER BY id",
        "SELECT id, symbol, price FROM alerts ORDER BY id",
        "SELECT id, message FROM system_events WHERE category <> 'retention' ORDER BY id",
        "SELECT id, order_id, status FROM order_jobs ORDER BY id",
    )
    return [[tuple(row) for row in pair.pair.app(side).execute(one).fetchall()] for one in questions]


def _on_both(pair: Served) -> list[list[tuple[Any, ...]]]:
    pair.pair.drain()
    found = [_on(pair, side) for side in Side]
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_go_and_come_back_on_both_sides(
    kind: str, pairs: Callable[[str], Served], tmp_path: Path
) -> None:
    pair = pairs(kind)
    store = Store("", pair.engine, pair.session, tmp_path / "archive", pair.settle)
    with store.sessions() as db:
        for number in range(ROWS):
            _, order = add_alert(db, 400, "EXECUTED")
            event = {"level": "INFO", "category": "c", "message": f"{number} तेजी"}
            db.add(SystemEvent(**event, created_at=days_ago(200)))
            db.add(OrderJob(order_id=order, status="DONE", updated_at=days_ago(200)))
        db.commit()
    before = _on_both(pair)
    run = store.retention().run(NOW)
    assert (run.error, run.rows) == (None, 3 * (ROWS - 1))
    assert [len(rows) for rows in _on_both(pair)] == [ROWS, 1, 1, 1]
    for path in archive.listed(store.folder):
        restore(store.sessions, path, store.folder, NOW, timedelta(days=30))
    assert _on_both(pair) == before
    pair.settle()
