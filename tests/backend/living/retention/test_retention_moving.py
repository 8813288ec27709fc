"""Retention takes rows out in the middle of a copy and of a switch: both sides agree, and every row comes back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.revisions.source import Alembic
from app.models import SystemEvent
from app.retention import archive
from app.retention.restore import restore
from loadtests.stage.embedded import EmbeddedPostgres
from migration.fill.prepare import prepare
from tests.backend.living.conftest import Store
from tests.backend.living.rows import NOW, add_alert, days_ago
from tests.backend.served import Served
from tests.support.pairs import TestPair

OLD = 60
Rows = list[list[tuple[Any, ...]]]
QUESTIONS = (
    "SELECT id, alert_id FROM orders ORDER BY id",
    "SELECT id, symbol, price, raw_payload FROM alerts ORDER BY id",
    "SELECT id, message, details FROM system_events WHERE category = 'c' ORDER BY id",
)


def _fill(db: Session) -> None:
    for number in range(OLD):
        add_alert(db, 400, "EXECUTED")
        details = f'{{"n": {number},"n" : "\\u0000तेजी"}}'
        db.add(
            SystemEvent(level="INFO", category="c", message="m", details=details, created_at=days_ago(200))
        )
    add_alert(db, 1)
    db.commit()


def _on_both(pair: TestPair) -> Rows:
    pair.drain()
    sides = [
        [[tuple(row) for row in pair.app(side).execute(one).fetchall()] for one in QUESTIONS] for side in Side
    ]
    assert sides[0] == sides[1]
    return sides[0]


def _comes_back(store: Store, pair: TestPair, before: Rows) -> None:
    gone = _on_both(pair)
    assert [len(rows) for rows in gone[1:]] in ([1, 0], [1, 1])  # the newest event may be one of these
    for path in archive.listed(store.folder):
        restored = restore(store.sessions, path, store.folder, NOW)
        assert not (restored.differing or restored.refused or restored.replaced or restored.without_parent)
    assert _on_both(pair) == before


def _until_done(store: Store) -> None:
    """A run that meets a switch may end with its reason; the next one goes on."""
    for _ in range(20):
        result = store.retention(retention_batch_rows=10).run(NOW)
        if result.error is None:
            return
    pytest.fail(f"no run came to its end: {result.error}")


@pytest.fixture
def copying_app(tmp_path: Path, postgres_server: EmbeddedPostgres) -> Iterator[Served]:
    """The application on a prepared pair with rows, none of them copied yet."""
    path = tmp_path / "sigma.db"
    upgrade_head(f"sqlite:///{path}")
    engine = create_engine(f"sqlite:///{path}")
    with Session(engine) as db:
        _fill(db)
    engine.dispose()
    pair = TestPair(path, postgres_server.create_database("retention_moving"))
    prepare(pair.pair, pair.applier.stores, Alembic(), report=lambda _line: None)
    served = Served(pair, Side.SQLITE)
    served.serve(DualWrite.ASYNC)
    yield served
    served.stop()
    pair.close()
    postgres_server.drop_database("retention_moving")


def test_rows_go_in_the_middle_of_the_copy(copying_app: Served, tmp_path: Path) -> None:
    pair = copying_app.pair
    store = Store("", copying_app.engine, copying_app.session, tmp_path / "archive", copying_app.settle)
    before = [[tuple(row) for row in pair.lite.execute(one).fetchall()] for one in QUESTIONS]
    batches = iter(Failpoint)  # one batch for each chunk that was read, as long as there are any

    def take_some() -> None:
        if next(batches, None) is not None:
            run = store.retention(retention_batch_rows=10)
            run._pause = lambda _seconds: run.stop()
            assert run.run(NOW).error is None

    with arm(Failpoint.COPY_CHUNK_READ, take_some):
        pair.backfill(chunk_rows=7)
    assert archive.listed(store.folder)
    _until_done(store)
    _comes_back(store, pair, before)


def test_the_primary_changes_between_an_archive_and_its_delete(
    pairs: Callable[[str], Served], tmp_path: Path
) -> None:
    served = pairs("sync-sqlite")
    pair = served.pair
    store = Store("", served.engine, served.session, tmp_path / "archive", served.settle)
    with store.sessions() as db:
        _fill(db)
    before = _on_both(pair)
    moves = iter((Side.POSTGRES, Side.SQLITE))

    def move() -> None:
        if (to := next(moves, None)) is not None:
            pair.moved(to)

    with arm(Failpoint.RETENTION_ARCHIVED, move):
        _until_done(store)
    assert next(moves, None) is None
    _comes_back(store, pair, before)
    store.settle()
