"""SELL alerts take what is held; AUTO alerts are dispatched, or put aside for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.api import orders as orders_api
from app.api import webhook as webhook_api
from app.core.config import Settings
from app.models import Order, RiskSettings, SystemEvent, User
from app.services.orders import execution
from app.services.orders.sending.asked import NOT_WAITING
from app.services.orders.sending.together import OneByOne
from app.services.shared.turns import AT_ONCE, DISPATCHES
from app.services.webhook import dispatch
from app.services.webhook.door.outside import alone, dispatcher
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.api.fake_broker import FakeBroker

SELL = {
    "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": "NSE:TCS",
    "trade_details": {"order_action": "SELL", "quantity": 3, "product": "MIS"},
}  # fmt: skip


def test_sell_takes_the_quantity_of_the_holdings(client: TestClient, db: Session, broker: FakeBroker) -> None:
    broker.holdings = [{"symbol": "TCS", "exchange": "nse", "qty": 12}]
    assert client.post("/webhook", json=SELL).status_code == 201
    order = db.scalars(select(Order)).one()
    assert (order.qty, order.product, order.is_exit) == (12.0, "CNC", True)


def test_sell_takes_the_quantity_of_the_positions(
    client: TestClient, db: Session, broker: FakeBroker
) -> None:
    row = {"symbol": "TCS", "exchange": "NSE"}
    broker.positions = [
        row | {"product": product, "qty": qty} for product, qty in (("NRML", 6), ("CNC", 5), ("MIS", 0))
    ]
    client.post("/webhook", json=SELL)
    order = db.scalars(select(Order)).one()
    assert (order.qty, order.product, order.is_exit) == (5.0, "CNC", True)


def test_unknown_sell_waits_for_review_even_in_auto_mode(
    client: TestClient, db: Session, settings: Settings, broker: FakeBroker
) -> None:
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
    assert client.post("/webhook", json=SELL).json()["status"] == "accepted"
    order = db.scalars(select(Order)).one()
    assert (order.mode, order.status, order.qty, order.is_exit) == ("MANUAL", "WAITING", 3.0, False)
    assert (order.error_message or "").startswith("TV SELL needs review: SigmaTrader could not find")
    assert broker.placed == []


def test_an_order_has_a_turn_until_its_broker_is_asked(
    client: TestClient, db: Session, settings: Settings, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the broker has said is stored without waiting for a turn: a kill meanwhile would lose it."""
    db.add(
        RiskSettings(scope="GLOBAL", max_quantity_per_order=1, clamp_mode="CLAMP")
    )  # so the order goes alone
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
    free: list[tuple[str, int]] = []
    place, begin, store = broker.place_order, alone.dispatch_auto, execution.keep_placed

    def noting(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            free.append((what, DISPATCHES._free._value))
            return call(*args, **options)

        return noted

    monkeypatch.setattr(broker, "place_order", noting("asks", place))
    monkeypatch.setattr(alone, "dispatch_auto", noting("begins", begin))
    monkeypatch.setattr(execution, "keep_placed", noting("stores", store))
    body = SELL | {"trade_details": {"order_action": "BUY", "quantity": 2}}
    assert client.post("/webhook", json=body).json()["status"] == "accepted"
    assert free == [("begins", AT_ONCE - 1), ("asks", AT_ONCE), ("stores", AT_ONCE)]


def test_auto_success(client: TestClient, db: Session, settings: Settings, broker: FakeBroker) -> None:
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
    body = SELL | {"trade_details": {"order_action": "BUY", "quantity": 1}}
    assert client.post("/webhook", json=body).json()["status"] == "accepted"
    assert db.scalars(select(Order.status)).one() == "SENT"
    messages = db.scalars(select(SystemEvent.message).order_by(SystemEvent.id)).all()
    assert messages == ["Order sent to zerodha", "Alert ingested and order created"]
    assert client.post("/webhook", json=body).json()["status"] == "deduped"
    assert len(broker.placed) == 1


def test_a_dispatch_that_breaks_is_no_failure_of_the_delivery(
    client: TestClient, db: Session, settings: Settings, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored. A 503 would say that it is not, and a resend would be a copy."""
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("UPDATE orders", {}, Exception("the server has gone away"))

    def one_by_one(*_: Any) -> None:
        raise OneByOne

    monkeypatch.setattr(alone, "dispatch_auto", away)
    monkeypatch.setattr(dispatcher, "begin_asking_all", one_by_one)
    answer = client.post("/webhook", json=SELL | {"trade_details": {"order_action": "BUY", "quantity": 1}})
    order = db.scalars(select(Order)).one()
    assert (answer.status_code, answer.json()["order_id"], answer.json()["dispatch"]) == (
        201,
        order.id,
        "PENDING",
    )
    assert (order.status, order.mode, broker.placed) == ("WAITING", "AUTO", [])


@pytest.mark.parametrize("step", ["execute_stored_order", "move_to_waiting"])
def test_a_cancelled_order_gets_no_copy(
    client: TestClient,
    db: Session,
    user: User,
    session_factory: Callable[[], Session],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Whether somebody cancels it before its dispatch looks, or between a failure (no broker) and its note."""
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
    inner = getattr(dispatch, step)

    def cancelled_before(*arguments: Any) -> Any:
        with session_factory() as other:
            other.execute(update(Order).where(Order.status == "WAITING").values(status="CANCELLED"))
            other.commit()
        return inner(*arguments)

    monkeypatch.setattr(dispatch, step, cancelled_before)
    answer = client.post("/webhook", json=SELL | {"trade_details": {"order_action": "BUY", "quantity": 1}})
    assert (answer.status_code, answer.json()) == (400, {"detail": NOT_WAITING})
    assert [tuple(row) for row in db.execute(select(Order.status, Order.mode))] == [("CANCELLED", "AUTO")]


def test_a_paper_order_waits_for_its_price_without_a_turn(
    client: TestClient, db: Session, settings: Settings, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "zerodha_api_key", "key")
    for module in (webhook_api, orders_api):
        monkeypatch.setattr(module, "is_market_open_now", lambda: True)
    config = TradingViewWebhookConfig(mode="AUTO", execution_target="PAPER")
    set_tradingview_webhook_config(db, settings, config)
    free: list[int] = []
    monkeypatch.setattr(broker, "last_price", lambda *_: free.append(DISPATCHES._free._value) or 2.5)
    body = SELL | {"trade_details": {"order_action": "BUY", "quantity": 1}}
    assert client.post("/webhook", json=body).json()["status"] == "accepted"
    assert db.scalars(select(Order.status)).all() == ["EXECUTED"]
    assert free == [AT_ONCE]


def test_auto_without_fallback(client: TestClient, db: Session, user: User, settings: Settings) -> None:
    config = TradingViewWebhookConfig(mode="AUTO", fallback_to_waiting_on_error=False)
    set_tradingview_webhook_config(db, settings, config)
    body = SELL | {"trade_details": {"order_action": "BUY", "quantity": 1}}
    answer = client.post("/webhook", json=body)
    assert (answer.status_code, answer.json()) == (400, {"detail": "Zerodha is not connected."})
    assert db.scalars(select(Order.status)).all() == ["WAITING"]


def test_auto_paper_outside_market_hours(
    client: TestClient, db: Session, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_api, "is_market_open_now", lambda: False)
    config = TradingViewWebhookConfig(mode="AUTO", execution_target="PAPER")
    set_tradingview_webhook_config(db, settings, config)
    body = SELL | {"trade_details": {"order_action": "BUY", "quantity": 1}}
    assert client.post("/webhook", json=body).json()["status"] == "accepted"
    order = db.scalars(select(Order)).one()
    assert (order.mode, order.status) == ("MANUAL", "WAITING")
    assert order.error_message == ("AUTO(PAPER) dispatch skipped: market is closed. Moved to Waiting Queue.")
