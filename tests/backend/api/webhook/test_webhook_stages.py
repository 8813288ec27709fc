"""The stages of a delivery by themselves: no database before the look-up, one transaction for several."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.models import Alert, Order, User
from app.services.positions.sell_qty import NOT_FOUND_NOTE, TradingViewSellQtyResolution
from app.services.webhook.decide import Signal, decide, with_held
from app.services.webhook.lookup import Found, Recipient, StoredWebhookSettings, look_up
from app.services.webhook.receive import Arrival, Delivery, Ended, receive
from app.services.webhook.store import Stored, insert_signals
from tests.backend.api.api_values import WEBHOOK_SECRET

ARRIVAL = Arrival("text/plain", "", "request-1")
NOBODY = Found(StoredWebhookSettings({}, {}), None, None, None)
TRADER = Found(StoredWebhookSettings({}, {}), Recipient(1, "trader1"), None, None)


def _body(**changes: Any) -> dict[str, Any]:
    return {
        "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": "NSE:TCS",
        "trade_details": {"order_action": "SELL", "quantity": 3},
    } | changes  # fmt: skip


def _delivery(body: dict[str, Any] | str) -> Delivery:
    delivery = receive(body, ARRIVAL)
    assert isinstance(delivery, Delivery)
    return delivery


def _signal(settings: Settings, body: dict[str, Any], found: Found = TRADER) -> Signal:
    signal = decide(settings, _delivery(body), found)
    assert isinstance(signal, Signal)
    return signal


def test_a_text_and_its_object_are_received_alike() -> None:
    assert _delivery(json.dumps(_body())) == _delivery(_body())


def test_an_unreadable_text_ends_the_delivery() -> None:
    ended = receive("BUY TCS", ARRIVAL)
    assert isinstance(ended, Ended)
    assert (ended.status, ended.event and ended.event.level) == (400, "WARNING")


@pytest.mark.parametrize(
    ("body", "found", "status", "has_event"),
    [
        ({"secret": "wrong", "test": "tradingview"}, TRADER, 401, True),
        ({"secret": WEBHOOK_SECRET, "test": "tradingview"}, TRADER, 201, False),
        (_body(symbol=None, platform="other"), NOBODY, 400, True),
        (_body(platform="other"), NOBODY, 201, False),
        (_body(), NOBODY, 201, True),
    ],
    ids=["secret", "test message", "schema", "platform", "user"],
)
def test_the_first_check_that_fails_decides(
    settings: Settings, body: dict[str, Any], found: Found, status: int, has_event: bool
) -> None:
    """Every case but the last would fail at a later check too."""
    ended = decide(settings, _delivery(body), found)
    assert isinstance(ended, Ended)
    assert (ended.status, ended.event is not None) == (status, has_event)


def test_what_is_held_makes_a_new_signal(settings: Settings) -> None:
    signal = _signal(settings, _body())
    exit_ = TradingViewSellQtyResolution(7.0, "holdings", "CNC", True, True, False, None)
    nothing = TradingViewSellQtyResolution(3.0, "payload", "CNC", False, True, True, NOT_FOUND_NOTE)
    assert (with_held(signal, exit_).normalized.qty, with_held(signal, exit_).is_exit) == (7.0, True)
    assert with_held(signal, nothing).review_note
    assert (signal.normalized.qty, signal.is_exit, signal.review_note) == (3.0, False, None)


def test_one_transaction_holds_several_deliveries(
    db: Session, user: User, settings: Settings, endings: list[str]
) -> None:
    """A rollback to the savepoint of one takes nothing from the others."""
    stored: list[Stored | None] = []
    for symbol in ("NSE:TCS", "NSE:INFY", "NSE:TCS"):
        delivery = _delivery(_body(symbol=symbol))
        # The first copy is not seen, as if both had arrived at once.
        found = replace(look_up(db, settings, delivery.asked), earlier=None)
        signal = decide(settings, delivery, found)
        assert isinstance(signal, Signal)
        try:
            with db.begin_nested():
                stored += insert_signals(db, [signal])
        except IntegrityError:
            stored.append(None)
    endings.clear()
    db.commit()
    assert endings == ["commit"]
    assert [rows is None for rows in stored] == [False, False, True]
    counts = [db.scalar(select(func.count()).select_from(table)) for table in (Alert, Order)]
    assert counts == [2, 2]
