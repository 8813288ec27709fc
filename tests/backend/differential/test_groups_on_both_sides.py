"""A group of deliveries in dual write: on both databases when it is answered, across a switch, across a death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from app.db.switch.coordinator import Moved
from app.models import Alert, Order
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.api.webhook.groups import Together
from tests.backend.differential.backends import stored
from tests.backend.differential.conftest import Dual
from tests.support.pairs import wait_until

WRITTEN = ("alerts", "orders", "system_events")
DIRECTIONS = pytest.mark.parametrize("primary", list(Side), ids=["sqlite_primary", "postgres_primary"])
ROOT = Path(__file__).resolve().parents[3]


def _delivery(number: int, **more: Any) -> dict[str, Any]:
    body = {
        "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": f"NSE:G{number}",
        "order_id": "L-1", "bar_time": "2026-01-27T05:45:00Z",
        "trade_details": {"order_action": "BUY", "quantity": 10, "price": 0.1 * number},
    }  # fmt: skip
    return {"json": body | more}


def _group(count: int) -> list[dict[str, Any]]:
    """New ones, copies of them, and refused ones."""
    new = [_delivery(number) for number in range(count)]
    return [*new, new[0], _delivery(count, secret="wrong"), _delivery(count + 1, st_user_id="nobody")]


def _make_primary(dual: Dual, side: Side) -> None:
    if dual.runtime.primary() is not side:
        assert isinstance(dual.pair.move(side), Moved)


def _ours(dual: Dual, side: Side) -> tuple[int, int]:
    with Session(dual.engine(side)) as db:
        alerts = select(func.count()).select_from(Alert).where(Alert.symbol.like("NSE:G%"))
        orders = select(func.count()).select_from(Order).where(Order.symbol.like("NSE:G%"))
        return db.scalar(alerts) or 0, db.scalar(orders) or 0


def _assert_same(dual: Dual, count: int) -> None:
    dual.catch_up()
    sides = [dual.engine(side) for side in Side]
    wait_until(lambda: stored(sides[0], WRITTEN) == stored(sides[1], WRITTEN))
    assert [_ours(dual, side) for side in Side] == [(count, count)] * 2


@DIRECTIONS
@pytest.mark.parametrize("mode", ["async", "sync", "strict"])
def test_in_every_mode(
    on_both: Dual, settings: Settings, monkeypatch: pytest.MonkeyPatch, primary: Side, mode: str
) -> None:
    _make_primary(on_both, primary)
    monkeypatch.setattr(on_both.runtime.settings, "dual_write", DualWrite(mode))
    monkeypatch.setattr(settings, "webhook_max_wait_ms", 30_000)
    together = Together(monkeypatch, on_both.backend.app)
    answers = together(_group(60))
    assert together.sizes == [63]
    assert [answer.status_code for answer in answers] == [201] * 61 + [401, 201]
    assert answers[60].json()["status"] == "deduped"
    if mode != "async":  # nobody has to wait now
        assert [_ours(on_both, side) for side in Side] == [(60, 60)] * 2
    _assert_same(on_both, 60)


@pytest.mark.parametrize("on_both", [DualWrite.SYNC, DualWrite.STRICT], indirect=True)
def test_a_full_group_is_one_round(
    on_both: Dual, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round that a commit leads itself carries it all: nothing is left to the thread and its pauses."""
    monkeypatch.setattr(settings, "webhook_max_wait_ms", 30_000)
    carried: list[tuple[str, int]] = []
    replicator = on_both.runtime.replicator
    original = replicator._round

    def noted(applier: Any, at_most: int | None = None) -> Any:
        outcome = original(applier, at_most)
        if getattr(outcome, "changes", 0):
            carried.append((threading.current_thread().name, outcome.changes))
        return outcome

    monkeypatch.setattr(replicator, "_round", noted)
    monkeypatch.setattr("app.db.session.replicator.follower.POLL_S", 60.0)
    replicator._poll = 60.0
    replicator._asked.set()  # the thread may still wait by its former pause
    wait_until(lambda: not replicator._asked.is_set())
    with replicator._rounds:  # its turn is over
        pass
    together = Together(monkeypatch, on_both.backend.app)
    together([_delivery(number) for number in range(500)])
    assert together.sizes == [500]
    assert ("st-webhook-writer", 1_500) in carried
    _assert_same(on_both, 500)


@DIRECTIONS
def test_across_a_switch(
    on_both: Dual, settings: Settings, monkeypatch: pytest.MonkeyPatch, primary: Side
) -> None:
    """The group arrives while the fence is up: the writer waits, not a thread per delivery."""
    _make_primary(on_both, primary)
    monkeypatch.setattr(settings, "webhook_max_wait_ms", 30_000)
    together = Together(monkeypatch, on_both.backend.app)
    answers: list[Any] = []
    threads = threading.active_count()
    sender = threading.Thread(target=lambda: answers.extend(together(_group(20))))

    def deliver() -> None:
        sender.start()
        wait_until(lambda: together.sizes == [23])

    with arm(Failpoint.SWITCH_FENCED, deliver):
        assert isinstance(on_both.pair.move(primary.other), Moved)
    assert threading.active_count() <= threads + 8
    sender.join(60)
    assert [answer.status_code for answer in answers] == [201] * 21 + [401, 201]
    _assert_same(on_both, 20)


_DYING = """
import asyncio, json, sys
import httpx
from app.db.session import runtime
from app.main import app

async def main():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await asyncio.gather(*(client.post("/webhook", **delivery) for delivery in json.load(sys.stdin)))

asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["commit.before", "commit.after"])
def test_a_death_in_the_middle_leaves_all_or_nothing_and_the_resend_is_taken(
    on_both: Dual, settings: Settings, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    deliveries = _group(20)
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    environment |= {
        "ST_FAILPOINTS": f"{point}=kill", "ST_DATABASE_URL": str(on_both.runtime.url),
        "ST_SHADOW_DATABASE_URL": on_both.pair.pair.postgres.render_as_string(hide_password=False),
        "ST_TRADINGVIEW_WEBHOOK_SECRET": WEBHOOK_SECRET, "PYTHONPATH": f"{ROOT / 'backend'}{os.pathsep}{ROOT}",
    }  # fmt: skip
    died = subprocess.run(
        [sys.executable, "-c", _DYING], input=json.dumps(deliveries), text=True, env=environment, timeout=60,
        capture_output=True, check=False,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr
    alerts, orders = _ours(on_both, Side.SQLITE)  # of the first group, which may be smaller than all
    assert alerts == orders
    assert (alerts > 0) == (point != "commit.before")
    monkeypatch.setattr(settings, "webhook_max_wait_ms", 30_000)
    answers = [answer.json() for answer in Together(monkeypatch, on_both.backend.app)(deliveries)]
    statuses = [answer.get("status") for answer in answers[:21]]
    assert (statuses.count("accepted"), statuses.count("deduped")) == (20 - alerts, 1 + alerts)
    _assert_same(on_both, 20)
