"""In dual write a delivery is on both databases when it is answered, whichever is primary, and stays one.

With `async` and `off` the shadow has it once apply has caught up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.db import SessionLocal
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.switch.coordinator import Moved
from app.models import Alert, BrokerSecret, Order, Position, RiskSettings, Strategy, SystemEvent, User
from app.services.webhook.door.writer import WRITER
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.api.webhook import test_http_webhook_cases as recorded
from tests.backend.differential.backends import TestClient, stored
from tests.backend.differential.conftest import Dual
from tests.support.pairs import wait_until

URL = "/webhook/tradingview"
WRITTEN = ("alerts", "orders", "system_events")
PLAIN: dict[str, Any] = {
    "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "breakout", "symbol": "NSE:SBIN",
    "trade_details": {"order_action": "BUY", "quantity": 10},
}  # fmt: skip
BAR = {"order_id": "Long-1", "bar_time": "2026-01-27T05:45:00Z"}
DIRECTIONS = pytest.mark.parametrize("primary", list(Side), ids=["sqlite_primary", "postgres_primary"])
KEYS = pytest.mark.parametrize("more", [BAR, {}], ids=["order id", "content"])


def _make_primary(dual: Dual, side: Side) -> None:
    if dual.runtime.primary() is not side:
        assert isinstance(dual.pair.move(side), Moved)


def _start_over(fixture: dict[str, Any]) -> dict[str, int]:
    """The rows that every recorded case starts from, and the ids behind the placeholders."""
    with SessionLocal() as db:
        for model in (SystemEvent, Order, Alert, Position, RiskSettings, BrokerSecret, Strategy, User):
            db.execute(delete(model))
        users = [User(password_hash="x", **row) for row in fixture["users"]]
        strategies = [Strategy(**row) for row in fixture["strategies"]]
        db.add_all([*users, *strategies, *(Position(**row) for row in fixture["positions"])])
        db.commit()
        ids = {f"<user:{user.username}>": user.id for user in users}
        return ids | {f"<strategy:{strategy.name}>": strategy.id for strategy in strategies}


def _check_case(case: dict[str, Any], dual: Dual, settings: Settings) -> None:
    ids = _start_over(recorded.RECORDED["fixture"])
    if "setup" in case:
        with SessionLocal() as db:
            config = TradingViewWebhookConfig.from_dict(case["setup"]["webhook_config"])
            set_tradingview_webhook_config(db, settings, config)
    answers = [recorded._send(dual.backend.client, request) for request in case["requests"]]
    if not dual.at_once:
        dual.pair.drain()
    sides = [dual.engine(side) for side in Side]
    assert stored(sides[0], WRITTEN) == stored(sides[1], WRITTEN), case["id"]
    for engine in sides:
        with Session(engine) as db:
            _check_rows(case, db, recorded._ids_of_new_rows(db, ids), answers)


def _check_rows(case: dict[str, Any], db: Session, ids: dict[str, int], answers: list[Any]) -> None:
    difference = recorded.DIFFERENCES.get(case["id"])
    for request, answer in zip(case["requests"], answers, strict=True):
        status = difference[1] if difference else request["expected_status"]
        assert answer.status_code == status, (case["id"], answer.text)
        if not difference:
            assert answer.json() == recorded._masked(recorded._filled(request["expected_body"], ids)), case[
                "id"
            ]
    for name, model in (("alerts", Alert), ("orders", Order)):
        expected = recorded._expected_rows(case, ids)[name]
        rows = db.scalars(select(model).order_by(model.id)).all()
        shown = [recorded._shown(row, list(want)) for row, want in zip(rows, expected, strict=True)]
        assert shown == expected, case["id"]


@DIRECTIONS
def test_every_recorded_case(on_both: Dual, settings: Settings, primary: Side) -> None:
    _make_primary(on_both, primary)
    for case in recorded.CASES:
        _check_case(case, on_both, settings)


def _post(dual: Dual, more: dict[str, Any]) -> dict[str, Any]:
    answer = TestClient(dual.backend.app).post(URL, json=PLAIN | more)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def _count(engine: Engine) -> tuple[int, int]:
    with Session(engine) as db:
        counts = [db.scalar(select(func.count()).select_from(model)) or 0 for model in (Alert, Order)]
    return counts[0], counts[1]


def _assert_one_more(dual: Dual, before: tuple[int, int], copies: int = 1) -> None:
    dual.pair.drain()
    for side in Side:
        assert _count(dual.engine(side)) == (before[0] + copies, before[1] + copies), side


@DIRECTIONS
@KEYS
def test_a_copy_after_the_switch_meets_the_first_one(
    on_both: Dual, primary: Side, more: dict[str, Any]
) -> None:
    _make_primary(on_both, primary)
    before = _count(on_both.engine(primary))
    first = _post(on_both, more)
    for _move in range(2):
        assert isinstance(on_both.pair.move(on_both.runtime.primary().other), Moved)
        copy = _post(on_both, more)
        assert copy == {"status": "deduped", "order_id": first["order_id"], "alert_id": first["alert_id"]}
    _assert_one_more(on_both, before)


def _waits() -> float:
    """How many transactions have had to wait at a fence so far."""
    return REGISTRY.get_sample_value("st_fence_waits_total") or 0.0


@pytest.fixture
def held(on_both: Dual) -> Iterator[ThreadPoolExecutor]:
    """Threads for what has to wait at the fence."""
    with ThreadPoolExecutor(5) as pool:
        yield pool


@DIRECTIONS
@KEYS
def test_copies_held_at_the_fence_are_stored_once(
    on_both: Dual, held: ThreadPoolExecutor, primary: Side, more: dict[str, Any]
) -> None:
    """One signal has arrived before, one arrives for the first time, both in several copies, fence up."""
    _make_primary(on_both, primary)
    before = _count(on_both.engine(primary))
    first = _post(on_both, more)
    answers: list[Any] = []
    waited = _waits()

    def deliver() -> None:
        new = more | {"symbol": "NSE:TCS"}
        answers.extend(held.submit(_post, on_both, body) for body in (more, new, more, new))
        # The writer waits at the fence, and the deliveries with it or in line behind it.
        wait_until(lambda: _waits() > waited and WRITER.line._in_hand + len(WRITER.line) >= 4)

    with arm(Failpoint.SWITCH_FENCED, deliver):
        assert isinstance(on_both.pair.move(primary.other), Moved)
    bodies = [answer.result(60) for answer in answers]
    assert [body["status"] for body in bodies[::2]] == ["deduped"] * 2
    assert {body["order_id"] for body in bodies[::2]} == {first["order_id"]}
    assert sorted(body["status"] for body in bodies[1::2]) == ["accepted", "deduped"]
    assert len({body["order_id"] for body in bodies[1::2]}) == 1
    _assert_one_more(on_both, before, copies=2)


@DIRECTIONS
def test_the_same_signal_after_its_window_and_the_switch_is_a_new_one(on_both: Dual, primary: Side) -> None:
    _make_primary(on_both, primary)
    before = _count(on_both.engine(primary))
    first = _post(on_both, {})
    with SessionLocal() as db:
        earlier = select(Order.created_at).where(Order.id == first["order_id"])
        aged = db.scalars(earlier).one() - timedelta(hours=1)
        db.execute(update(Order).where(Order.id == first["order_id"]).values(created_at=aged))
        db.commit()
    assert isinstance(on_both.pair.move(primary.other), Moved)
    second = _post(on_both, {})
    assert second["status"] == "accepted"
    assert _post(on_both, {})["order_id"] == second["order_id"] != first["order_id"]
    _assert_one_more(on_both, before, copies=2)
    keys = [json.dumps(stored(on_both.engine(side), ("orders",)), default=str) for side in Side]
    assert keys[0] == keys[1]
