"""A function replaced by its name in `app.api` is used wherever the application asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.api import orders as orders_api
from app.api import webhook as webhook_api
from app.core.config import Settings
from app.models import Order, User
from app.services.brokers.outside import OUTSIDE
from app.services.orders import create_order_from_alert
from app.services.positions.sell_qty import resolve_tradingview_sell_qty
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.api.fake_broker import FakeBroker

BUY: dict[str, Any] = {
    "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": "NSE:TCS",
    "trade_details": {"order_action": "BUY", "quantity": 1},
}  # fmt: skip
SELL = BUY | {"trade_details": {"order_action": "SELL", "quantity": 1}}
HELD = {"symbol": "TCS", "exchange": "NSE", "product": "CNC", "qty": 7}


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeBroker, list[tuple[Any, ...]]]:
    """A broker that only the replaced function knows, and the calls of that function."""
    fake, calls = FakeBroker(), []
    fake.positions = [HELD]

    def client_of(_db: Session, _settings: Settings, name: str, user_id: int | None = None) -> FakeBroker:
        calls.append((name, user_id))
        return fake

    monkeypatch.setattr(orders_api, "_get_broker_client", client_of)
    return fake, calls


def _auto(db: Session, settings: Settings, target: str = "LIVE") -> None:
    config = TradingViewWebhookConfig(mode="AUTO", execution_target=target)
    set_tradingview_webhook_config(db, settings, config)


def test_the_broker_client_of_a_sell(
    db: Session, user: User, settings: Settings, replaced: tuple[FakeBroker, list[tuple[Any, ...]]]
) -> None:
    found = resolve_tradingview_sell_qty(
        db, settings, user=user, broker_name="zerodha", exchange="NSE", symbol="TCS", desired_product="CNC",
        payload_qty=1.0,
    )  # fmt: skip
    assert (found.qty, found.source, found.checked_live) == (7.0, "positions", True)
    assert replaced[1] == [("zerodha", user.id)]


def test_the_broker_client_of_a_dispatched_delivery(
    client: TestClient,
    db: Session,
    user: User,
    settings: Settings,
    replaced: tuple[FakeBroker, list[tuple[Any, ...]]],
) -> None:
    _auto(db, settings)
    assert client.post("/webhook", json=SELL).json()["status"] == "accepted"
    order = db.scalars(select(Order)).one()
    assert (order.status, order.qty, order.broker_account_id) == ("SENT", 7.0, FakeBroker.account_id)
    assert replaced[1] == [("zerodha", user.id)] * 2


@pytest.mark.parametrize(("is_open", "status"), [(True, "SENT"), (False, "FAILED")])
def test_the_market_hours_of_an_execution(
    client: TestClient, db: Session, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch,
    is_open: bool, status: str,
) -> None:  # fmt: skip
    """The webhook asks by its own name before the dispatch, the execution by the name in the orders API."""
    _auto(db, settings, "PAPER")
    monkeypatch.setattr(webhook_api, "is_market_open_now", lambda: True)
    monkeypatch.setattr(orders_api, "is_market_open_now", lambda: is_open)
    assert OUTSIDE.market_is_open() is is_open
    client.post("/webhook", json=BUY)
    assert db.scalars(select(Order.status)).all() == [status]


def test_the_function_that_makes_the_order(
    client: TestClient, db: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marked(db: Session, alert: Any, **values: Any) -> Order:
        order = create_order_from_alert(db, alert, **values)
        order.error_message = "made elsewhere"
        return order

    monkeypatch.setattr(webhook_api, "create_order_from_alert", marked)
    assert client.post("/webhook", json=BUY).status_code == 201
    assert db.scalars(select(Order.error_message)).one() == "made elsewhere"
