"""Rows go and come back in every dual-write mode, with either side as primary, and the shadow goes with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from app.models import OrderJob, SystemEvent
from app.retention import archive
from app.retention.restore import restore
from tests.backend.living.conftest import Store
from tests.backend.living.rows import NOW, add_alert, days_ago
from tests.backend.served import Served

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
