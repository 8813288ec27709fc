"""Executing an order: limits, simulation, broker."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.api import orders as orders_api
from app.api import paper as paper_api
from app.core.config import Settings
from app.models import Order, Position, RiskSettings, Strategy, SystemEvent, User
from app.services.risk.engine_flag import get_risk_engine_v2_enabled, set_risk_engine_v2_enabled
from app.services.risk.policy_store import ENFORCEMENT_FLAGS, RiskPolicy, get_risk_policy, set_risk_policy
from app.services.shared.secret_rows import store_secret_row
from tests.backend.api.fake_broker import FakeBroker


def _waiting(db: Session, user: User, **values: Any) -> Order:
    defaults: dict[str, Any] = {"symbol": "SBIN", "exchange": "NSE", "side": "BUY", "qty": 10.0}
    order = Order(user_id=user.id, **(defaults | values))
    db.add(order)
    db.commit()
    return order


def _execute(client: TestClient, order: Order) -> Any:
    return client.post(f"/api/orders/{order.id}/execute")


def test_refusals(client: TestClient, db: Session, user: User) -> None:
    assert client.post("/api/orders/99/execute").status_code == 404
    for values in ({"status": "SENT"}, {"simulated": True}, {"status": "SENDING"}):
        answer = _execute(client, _waiting(db, user, **values))
        assert answer.json() == {"detail": "Only non-simulated WAITING orders can be executed."}
    assert _execute(client, _waiting(db, user, qty=0.0)).json() == {"detail": "Order has invalid quantity."}
    order = _waiting(db, user, broker_name="angelone")
    assert _execute(client, order).json() == {"detail": "Unsupported broker: angelone"}


def test_not_connected_leaves_the_order_waiting(client: TestClient, db: Session, user: User) -> None:
    order = _waiting(db, user, price=9.99)
    assert _execute(client, order).json() == {"detail": "Zerodha is not connected."}
    db.refresh(order)
    assert (order.status, order.price) == ("WAITING", 10.0)


def test_sent_to_the_broker(client: TestClient, db: Session, user: User, broker: FakeBroker) -> None:
    order = _waiting(db, user)
    body = _execute(client, order).json()
    assert (body["status"], body["broker_order_id"], body["zerodha_order_id"]) == ("SENT", "B1", "B1")
    assert body["broker_account_id"] == "AB1234"
    assert db.scalars(select(SystemEvent.message)).all() == ["Order sent to zerodha"]


def test_broker_refusals(client: TestClient, db: Session, user: User, broker: FakeBroker) -> None:
    broker.refusals = ["Try placing an AMO order."]
    assert _execute(client, _waiting(db, user)).status_code == 200
    assert broker.placed[0][1] == "amo"
    broker.refusals = ["no margin"]
    order = _waiting(db, user)
    answer = _execute(client, order)
    assert (answer.status_code, answer.json()["detail"]) == (502, "Zerodha order placement failed: no margin")
    db.refresh(order)
    assert (order.status, order.error_message) == ("FAILED", "no margin")


def test_any_zerodha_connection_serves(client: TestClient, db: Session, broker: FakeBroker) -> None:
    other = User(username="other", password_hash="x")
    db.add(other)
    db.commit()
    assert _execute(client, _waiting(db, other)).status_code == 200


def test_sync_takes_statuses_over(logged_in: TestClient, db: Session, user: User, broker: FakeBroker) -> None:
    order = _waiting(db, user)
    _execute(logged_in, order)
    assert logged_in.post("/api/orders/sync").json() == {"updated": 1}
    db.refresh(order)
    assert order.status == "EXECUTED"


def test_replaced_client_without_users(
    client: TestClient, db: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeBroker()
    monkeypatch.setattr(orders_api, "_get_zerodha_client", lambda _db, _settings: fake)
    assert _execute(client, _waiting(db, user)).json()["status"] == "SENT"


@pytest.mark.parametrize(
    ("rule", "order", "detail"),
    [
        ({"max_quantity_per_order": 4.0, "clamp_mode": "REJECT"}, {},
         "Quantity 10.0 exceeds max_quantity_per_order=4.0 in GLOBAL."),
        ({"max_order_value": 50.0, "clamp_mode": "REJECT"}, {"price": 10.0},
         "Order value 100.00 exceeds max_order_value=50.00 in GLOBAL."),
        ({"max_order_value": 5.0}, {"price": 10.0},
         "Order value 100.00 exceeds max_order_value=5.00 in GLOBAL and cannot be clamped to at least 1 "
         "whole unit."),
        ({"allow_short_selling": False}, {"side": "SELL", "product": "MIS"},
         "Short selling is disabled in GLOBAL risk settings."),
    ],
)  # fmt: skip
def test_blocked_by_limits(
    client: TestClient, db: Session, user: User, rule: dict[str, Any], order: dict[str, Any], detail: str
) -> None:
    db.add_all([RiskSettings(scope="GLOBAL", **rule), Strategy(name="s")])
    db.commit()
    stored = _waiting(db, user, **order)
    answer = _execute(client, stored)
    assert (answer.status_code, answer.json()["detail"]) == (400, f"Order rejected by risk engine: {detail}")
    db.refresh(stored)
    assert (stored.status, stored.error_message) == ("REJECTED_RISK", detail)
    assert db.scalars(select(SystemEvent.message)).all() == ["Order rejected by risk engine"]


def test_clamped_by_limits(client: TestClient, db: Session, user: User, broker: FakeBroker) -> None:
    db.add(RiskSettings(scope="GLOBAL", max_quantity_per_order=8.0, max_order_value=50.0))
    db.commit()
    assert _execute(client, _waiting(db, user, price=10.0)).json()["qty"] == 5.0
    assert _execute(client, _waiting(db, user, price=10.0, is_exit=True)).json()["qty"] == 10.0


def test_short_selling_counts_the_position(
    client: TestClient, db: Session, user: User, broker: FakeBroker
) -> None:
    position = Position(symbol="SBIN", exchange="NSE", product="MIS", qty=10.0, avg_price=1.0)
    db.add_all([RiskSettings(scope="GLOBAL", allow_short_selling=False), position])
    db.commit()
    assert _execute(client, _waiting(db, user, side="SELL", product="MIS")).status_code == 200
    too_many = _waiting(db, user, side="SELL", product="MIS", qty=11.0)
    assert _execute(client, too_many).status_code == 400


def test_policy_engine_fails_closed(
    client: TestClient, db: Session, user: User, settings: Settings, broker: FakeBroker
) -> None:
    set_risk_engine_v2_enabled(db, settings, True)
    order = _waiting(db, user)
    assert _execute(client, order).status_code == 400
    set_risk_engine_v2_enabled(db, settings, False)
    set_risk_policy(db, settings, RiskPolicy(enabled=True))
    assert _execute(client, order).status_code == 400
    assert broker.placed == []


def test_policy_store(db: Session, settings: Settings) -> None:
    assert get_risk_engine_v2_enabled(db, settings) == (False, "env_default")
    store_secret_row(db, settings, "risk", "risk_engine_v2_enabled", "[]", None)
    assert get_risk_engine_v2_enabled(db, settings) == (False, "db_invalid")
    assert get_risk_policy(db, settings)[1] == "default"
    text = '{"version": 1, "enabled": false, "enforcement": {"per_trade": false}, "equity": {"x": 0.1}}'
    store_secret_row(db, settings, "risk", "risk_policy_v1", text, None)
    completed, source = get_risk_policy(db, settings)
    assert source == "db" and set(completed.enforcement) == set(ENFORCEMENT_FLAGS)
    assert completed.enforcement["per_trade"] is False
    assert completed.model_dump()["equity"] == {"x": 0.1}
    assert get_risk_policy(db, settings)[0] == completed


@pytest.mark.parametrize("is_open", [True, False])
def test_paper(
    client: TestClient, db: Session, user: User, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    monkeypatch.setattr(orders_api, "is_market_open_now", lambda: is_open)
    order = _waiting(db, user, execution_target="PAPER")
    answer = _execute(client, order)
    db.refresh(order)
    assert order.simulated
    if is_open:
        assert answer.json()["status"] == "SENT"
        assert db.scalars(select(SystemEvent.message)).all() == ["Paper order submitted"]
    else:
        assert answer.json() == {"detail": "Market is closed; paper order rejected."}
        assert order.status == "FAILED"


def test_paper_fill_and_poll(
    logged_in: TestClient, db: Session, user: User, settings: Settings, broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(orders_api, "is_market_open_now", lambda: True)
    monkeypatch.setattr(settings, "zerodha_api_key", "key")
    filled = _execute(logged_in, _waiting(db, user, execution_target="PAPER")).json()
    assert (filled["status"], filled["price"]) == ("EXECUTED", 123.45)
    limits = {"execution_target": "PAPER", "order_type": "LIMIT"}
    for price in (120.0, 130.0):
        _execute(logged_in, _waiting(db, user, price=price, **limits))
    monkeypatch.setattr(paper_api, "is_market_open_now", lambda: False)
    assert logged_in.post("/api/paper/poll").json() == {"filled_orders": 0}
    monkeypatch.setattr(paper_api, "is_market_open_now", lambda: True)
    assert logged_in.post("/api/paper/poll").json() == {"filled_orders": 1}
    prices = db.scalars(select(Order.price).where(Order.status == "EXECUTED").order_by(Order.id)).all()
    assert prices == [123.45, 123.45]
    assert logged_in.post("/api/paper/poll").json() == {"filled_orders": 0}


def test_only_strategy_decides_the_target(
    client: TestClient, db: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders_api, "is_market_open_now", lambda: True)
    db.add(Strategy(name="one", execution_target="PAPER"))
    db.commit()
    assert _execute(client, _waiting(db, user)).json()["simulated"] is True
    db.add(Strategy(name="two", execution_target="PAPER"))
    db.commit()
    assert _execute(client, _waiting(db, user)).json() == {"detail": "Zerodha is not connected."}
