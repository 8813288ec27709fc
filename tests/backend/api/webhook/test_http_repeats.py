"""A copy of a delivery is stored once; the same signal at a later time is stored again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.main import app
from app.models import Alert, Order, SystemEvent, User
from tests.backend.api.api_values import WEBHOOK_SECRET

URL = "/webhook/tradingview"
PLAIN: dict[str, Any] = {
    "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "breakout", "symbol": "NSE:SBIN",
    "trade_details": {"order_action": "BUY", "quantity": 10},
}  # fmt: skip
BAR = "2026-01-27T05:45:00Z"
BY_CONTENT = {
    "nothing": {},
    "an order id": {"order_id": "Long-1"},
    "a placeholder": {"order_id": "{{strategy.order.id}}"},
}
BY_BAR = {
    "order id and bar": {"order_id": "Long-1", "bar_time": BAR},
    "bar": {"bar_time": BAR},
    "timestamp": {"timestamp": BAR},
    "placeholder and bar": {"order_id": "{{strategy.order.id}}", "bar_time": BAR},
}


def _age(db: Session, seconds: float) -> None:
    """Let the stored orders be older than they are."""
    for order_id, created in db.execute(select(Order.id, Order.created_at)).all():
        values = {"created_at": created - timedelta(seconds=seconds), "updated_at": Order.updated_at}
        db.execute(update(Order).where(Order.id == order_id).values(values))
    db.commit()


def _send(client: TestClient, more: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(URL, json=PLAIN | more)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("more", BY_CONTENT.values(), ids=BY_CONTENT)
def test_known_by_content_alone_it_is_a_copy_within_the_window(
    client: TestClient, db: Session, user: User, more: dict[str, Any]
) -> None:
    first = _send(client, more)
    changed = db.scalars(select(Order.updated_at)).one()
    _age(db, 40)  # the last resend arrives after 15 seconds and what the answers took
    copy = _send(client, more)
    assert copy == {"status": "deduped", "order_id": first["order_id"], "alert_id": first["alert_id"]}
    _age(db, 6)
    second = _send(client, more)
    assert second["status"] == "accepted"
    assert second["order_id"] != first["order_id"]
    again = _send(client, more)
    assert (again["status"], again["order_id"]) == ("deduped", second["order_id"])
    db.expire_all()
    rows = db.execute(select(Order.client_order_id, Order.updated_at).order_by(Order.id)).all()
    key = rows[1][0]
    assert [row[0] for row in rows] == [f"{key}#{first['order_id']}", key]
    assert rows[0][1] == changed


def test_a_clock_that_was_set_back_makes_no_copies_of_new_signals(
    client: TestClient, db: Session, user: User
) -> None:
    first = _send(client, {})
    _age(db, -40)
    assert _send(client, {})["order_id"] == first["order_id"]
    _age(db, -3600)
    assert _send(client, {})["status"] == "accepted"


@pytest.mark.parametrize("more", BY_BAR.values(), ids=BY_BAR)
def test_known_by_its_bar_it_is_a_copy_for_ever(
    client: TestClient, db: Session, user: User, more: dict[str, Any]
) -> None:
    first = _send(client, more)
    _age(db, 400 * 86_400)
    assert _send(client, more)["order_id"] == first["order_id"]
    member = "timestamp" if "timestamp" in more else "bar_time"
    later_bar = _send(client, more | {member: "2026-01-27T06:00:00Z"})
    assert later_bar["status"] == "accepted"


def test_the_window_can_be_set(
    client: TestClient, db: Session, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _send(client, {})
    monkeypatch.setattr(settings, "webhook_dedupe_window_s", 0)  # for ever
    _age(db, 400 * 86_400)
    assert _send(client, {})["order_id"] == first["order_id"]
    monkeypatch.setattr(settings, "webhook_dedupe_window_s", 500 * 86_400)
    assert _send(client, {})["order_id"] == first["order_id"]
    monkeypatch.setattr(settings, "webhook_dedupe_window_s", 1)
    assert _send(client, {})["status"] == "accepted"


@pytest.mark.parametrize("value", ["-1", "soon", "1.5", "99999999999"])
def test_a_window_that_is_none_is_refused_at_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_WEBHOOK_DEDUPE_WINDOW_S", value)
    with pytest.raises(ValidationError, match="webhook_dedupe_window_s"):
        Settings(_env_file=None)


def test_simultaneous_copies_of_a_repeated_signal_are_stored_once(
    client: TestClient, db: Session, user: User
) -> None:
    first = _send(client, {})
    _age(db, 3600)
    copies = 8

    def send(_number: int) -> Any:
        return TestClient(app, raise_server_exceptions=False).post(URL, json=PLAIN)

    with ThreadPoolExecutor(copies) as pool:
        answers = list(pool.map(send, range(copies)))
    assert [answer.status_code for answer in answers] == [201] * copies
    bodies = [answer.json() for answer in answers]
    assert sorted(body["status"] for body in bodies) == ["accepted"] + ["deduped"] * (copies - 1)
    assert len({body["order_id"] for body in bodies} - {first["order_id"]}) == 1
    assert len({body["order_id"] for body in bodies}) == 1
    for model, count in ((Alert, 2), (Order, 2), (SystemEvent, copies + 1)):
        assert len(db.scalars(select(model.id)).all()) == count


SIGNAL = {"order_id": "Long-1", "bar_time": BAR}


@pytest.mark.parametrize(
    "other",
    [
        {"st_user_id": "trader2"}, {"strategy_name": "another"}, {"symbol": "NSE:TCS"}, {"order_id": "Long-2"},
        {"trade_details": {"order_action": "SELL", "quantity": 10}}, {"bar_time": "2026-01-27T06:00:00Z"},
    ],
    ids=["user", "strategy", "symbol", "order id", "side", "bar"],
)  # fmt: skip
@pytest.mark.parametrize("padding", [0, 114], ids=["short", "long"])
def test_each_part_of_a_signals_identity_makes_another_signal(
    client: TestClient, db: Session, user: User, other: dict[str, Any], padding: int
) -> None:
    """Also where order id and bar do not fit into the column."""
    db.add(User(username="trader2", password_hash="x", role="TRADER"))
    db.commit()
    signal = SIGNAL | {"order_id": "x" * padding + "Long-1"}
    if "order_id" in other:
        other = {"order_id": "x" * padding + other["order_id"]}
    first = _send(client, signal)
    assert _send(client, signal | other)["status"] == "accepted"
    again = _send(client, signal | {"trade_details": {"order_action": "BUY", "quantity": 11}})
    assert (again["status"], again["order_id"]) == ("deduped", first["order_id"])
    assert all(len(key or "") <= 128 for key in db.scalars(select(Order.client_order_id)))


@pytest.mark.parametrize("order_id", ["Long-1", "x" * 114 + "Long-1"], ids=["short", "cut"])
def test_a_key_of_an_earlier_release_is_recognised_for_its_own_signal(
    client: TestClient, db: Session, user: User, order_id: str
) -> None:
    db.add(User(username="trader2", password_hash="x", role="TRADER"))
    db.commit()
    signal = SIGNAL | {"order_id": order_id}
    first = _send(client, signal)
    older = f"TV:NSE:SBIN:{order_id}:2026-01-27T05:45:00+00:00"[:128]
    db.execute(update(Order).values(client_order_id=older))
    db.commit()
    assert _send(client, signal)["order_id"] == first["order_id"]
    assert _send(client, signal | {"st_user_id": "trader2"})["status"] == "accepted"
    assert _send(client, signal | {"bar_time": "2026-01-27T06:00:00Z"})["status"] == "accepted"
