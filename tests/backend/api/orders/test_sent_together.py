"""AUTO orders of a burst go to brokers together, and each ends as it would alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.db.common.failpoints import Failpoint, arm
from app.models import Order, RiskSettings, SystemEvent, User
from app.services.brokers.clients import OutcomeUnknown
from app.services.orders.sending import asked
from app.services.orders.sending import together as sending
from app.services.orders.sending.asked import BEGIN_WITHIN, UNKNOWN_AFTER
from app.services.orders.sending.unknown import Found, settle_unknown
from app.services.webhook.door.outside import dispatcher, threads
from app.services.webhook.door.outside.dispatcher import Dispatcher
from app.services.webhook.door.outside.threads import Pools
from app.services.webhook.door.writer import WRITER
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.api.fake_broker import FakeBroker
from tests.backend.api.webhook.groups import Together

SENT, ENDED = "Order sent to zerodha", "Alert ingested and order created"
Send = Callable[..., list[httpx.Response]]


def _delivery(symbol: str, **details: Any) -> dict[str, Any]:
    body = {
        "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": f"NSE:{symbol}",
        "order_id": "L-1", "bar_time": "2026-01-27T05:45:00Z",
        "trade_details": {"order_action": "BUY", "quantity": 10} | details,
    }  # fmt: skip
    return {"json": body}


@pytest.fixture
def send(
    client: TestClient,
    db: Session,
    user: User,
    settings: Settings,
    broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> Send:
    """Sends AUTO alerts of these symbols; the dispatcher meets all of them at once. The answer to each."""
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
    together, join, met = Together(monkeypatch), Dispatcher.join, list[Any]()

    def sent(*symbols: str, **details: Any) -> list[httpx.Response]:
        def join_when_all_are_here(*joins: Any) -> None:
            met.append(joins)
            if len(met) == len(symbols):
                with joins[0]._changed:
                    for one in met:
                        join(*one)

        met.clear()
        monkeypatch.setattr(Dispatcher, "join", join_when_all_are_here)
        answers = together([_delivery(symbol, **details) for symbol in symbols])
        WRITER.stop()
        db.rollback()
        return answers

    return sent


def _orders(db: Session) -> dict[str, tuple[str, str]]:
    rows = db.execute(select(Order.symbol, Order.status, Order.mode).order_by(Order.id))
    return {symbol.removeprefix("NSE:"): (status, mode) for symbol, status, mode in rows}


def _messages(db: Session) -> list[str]:
    return list(db.scalars(select(SystemEvent.message).order_by(SystemEvent.id)))


def test_one_transaction_asks_for_all(
    send: Send, db: Session, broker: FakeBroker, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call begins while no other has ended, so all orders were SENDING after one update."""
    symbols = [f"S{number}" for number in range(10)]
    place, all_are_asked = broker.place_order, threading.Barrier(len(symbols))
    before: list[list[str]] = []

    def placed(order: Order, **more: Any) -> str:
        if all_are_asked.wait(60) == 0:
            before.append(statements[:])
            statements.clear()
        all_are_asked.wait(60)
        return place(order, **more)

    monkeypatch.setattr(broker, "place_order", placed)
    assert [(answer.status_code, answer.json()["status"]) for answer in send(*symbols)] == [
        (201, "accepted")
    ] * 10
    updates = [statement for statement in before[0] if statement.startswith("UPDATE orders")]
    assert len(updates) == 1
    for table in ("broker_connections", "risk_settings", "strategies"):
        assert sum(f"FROM {table}" in statement for statement in before[0]) <= 2, (
            table
        )  # the door's and this one
    assert set(_orders(db).values()) == {("SENT", "AUTO")}
    assert sorted(_messages(db)) == sorted([SENT, ENDED] * 10)
    assert sorted(order for order, _variety in broker.placed) == list(
        db.scalars(select(Order.id).order_by(Order.id))
    )
    ids = db.execute(select(Order.broker_order_id, Order.zerodha_order_id, Order.broker_account_id)).all()
    assert {row[0] for row in ids} == set(broker.ids.values())
    assert all(row[0] == row[1] and row[2] == broker.account_id for row in ids)


def test_what_cannot_go_together_goes_alone(send: Send, db: Session, broker: FakeBroker) -> None:
    """A limit cuts one, a simulation takes one, the broker refuses one, and of one nobody knows."""
    db.add(RiskSettings(scope="GLOBAL", max_quantity_per_order=8, clamp_mode="CLAMP"))
    db.commit()
    assert [answer.status_code for answer in send("CUT", "CUT2")] == [201] * 2
    assert _orders(db) == {"CUT": ("SENT", "AUTO"), "CUT2": ("SENT", "AUTO")}
    assert set(db.scalars(select(Order.qty))) == {8.0}
    broker.refusals.append("no margin")
    broker.answers.append(OutcomeUnknown("timed out"))
    answers = send("A", "B", "C", quantity=5)
    assert [answer.status_code for answer in answers] == [201] * 3
    assert sorted(answer.json().get("dispatch", "") for answer in answers) == ["", "PENDING", "WAITING"]
    ends = db.scalars(select(Order.status).where(Order.symbol.in_(["NSE:A", "NSE:B", "NSE:C"])))
    assert sorted(ends) == ["FAILED", "SENDING", "SENT", "WAITING"]
    assert len(broker.placed) == 4  # the refused one is not among them


def test_one_that_somebody_has_taken_is_not_sent(
    send: Send,
    db: Session,
    session_factory: Callable[[], Session],
    broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = sending.begin_write

    def taken_before(session: Session, patience_s: float) -> None:
        with session_factory() as other:
            take = update(Order).where(Order.symbol == "NSE:B", Order.status == "WAITING")
            other.execute(take.values(status="SENDING"))
            other.commit()
        begin(session, patience_s)

    monkeypatch.setattr(sending, "begin_write", taken_before)
    assert [answer.status_code for answer in send("A", "B", "C")] == [201, 400, 201]
    assert _orders(db) == {"A": ("SENT", "AUTO"), "B": ("SENDING", "AUTO"), "C": ("SENT", "AUTO")}
    assert len(broker.placed) == 2


@pytest.mark.parametrize("committed", [True, False])
def test_what_brokers_said_is_stored_once_whatever_becomes_of_the_commit(
    send: Send, db: Session, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    store = sending.store_placed_all

    def lost(*arguments: Any) -> None:
        if committed:
            store(*arguments)
        raise OperationalError("COMMIT", {}, Exception("gone"))

    monkeypatch.setattr(dispatcher, "store_placed_all", lost)
    assert [answer.status_code for answer in send("A", "B", "C")] == [201] * 3
    assert set(_orders(db).values()) == {("SENT", "AUTO")}
    assert sorted(_messages(db)) == sorted([SENT, ENDED] * 3)
    assert len(broker.placed) == 3


def test_what_a_broker_said_outlives_a_database_that_is_away(
    send: Send, db: Session, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is nowhere else, and a broker that cannot find orders will never say it again."""
    store, refusals = asked.store_placed, [0, 0]

    def away(*_arguments: Any) -> Any:
        raise OperationalError("UPDATE orders", {}, Exception("database is locked"))

    def away_for_a_while(*arguments: Any) -> bool:
        assert len(refusals) == 2 or not arguments[0].in_transaction(), "each further try begins anew"
        return store(*arguments) if not refusals else bool(refusals.pop()) or away()

    monkeypatch.setattr(asked, "KEEP_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(dispatcher, "store_placed_all", away)
    monkeypatch.setattr(asked, "store_placed", away_for_a_while)
    assert [answer.status_code for answer in send("A")] == [201]
    assert _orders(db) == {"A": ("SENT", "AUTO")}
    assert (refusals, _messages(db)) == ([], [SENT, ENDED])


def test_a_commit_that_may_have_taken_place_sends_nothing(
    send: Send, db: Session, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether the orders are SENDING, so nobody may ask a broker for them."""

    def lost(*_arguments: Any) -> Any:
        raise OperationalError("COMMIT", {}, Exception("gone"))

    monkeypatch.setattr(dispatcher, "begin_asking_all", lost)
    assert [answer.status_code for answer in send("A", "B")] == [201] * 2
    assert broker.placed == []


@pytest.mark.parametrize("alone", [False, True], ids=["together", "alone"])
@pytest.mark.parametrize("point", [Failpoint.ORDER_ASKED, Failpoint.ORDER_PLACED, Failpoint.ORDER_STORED])
def test_a_fault_at_any_point_sends_no_order_twice_and_ends_each_signal_once(
    send: Send, db: Session, settings: Settings, broker: FakeBroker, point: Failpoint,
    monkeypatch: pytest.MonkeyPatch, alone: bool,
) -> None:  # fmt: skip
    if alone:
        monkeypatch.setattr(dispatcher, "begin_asking_all", lambda *_arguments: {})
    with arm(point, "raise"):
        send("A", "B", "C")
    earlier = utc_now() - UNKNOWN_AFTER - timedelta(minutes=1)
    db.execute(update(Order).where(Order.status == "SENDING").values(updated_at=earlier))
    db.commit()
    settle_unknown(db, settings)
    placed = [order for order, _variety in broker.placed]
    assert len(placed) == len(set(placed)) == (0 if point is Failpoint.ORDER_ASKED else 3)
    in_vain = point is Failpoint.ORDER_ASKED
    assert set(_orders(db).values()) == {("WAITING", "MANUAL") if in_vain else ("SENT", "AUTO")}
    assert sorted(message for message in _messages(db) if message in (SENT, ENDED)) == sorted(
        [SENT, ENDED] * len(placed)
    )
    assert _ended(db) == sorted(placed)


def _ended(db: Session) -> list[int]:
    """The orders of the signals that have ended; the event says the same, whoever has stored it."""
    details = [
        json.loads(text)
        for text in db.scalars(select(SystemEvent.details).where(SystemEvent.message == ENDED))
    ]
    for one in details:
        order = db.get_one(Order, one["order_id"])
        assert one == {
            "alert_id": order.alert_id, "order_id": order.id, "symbol": order.symbol, "action": "BUY",
            "strategy": "s", "mode": "AUTO",
        }  # fmt: skip
    return sorted(one["order_id"] for one in details)


def test_a_note_that_took_too_long_is_taken_back_from_all(
    send: Send, db: Session, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each order is sent by itself afterwards, which it could not be while it is SENDING."""
    monkeypatch.setattr(sending, "may_begin", lambda _order: False)
    assert [answer.status_code for answer in send("A", "B")] == [201] * 2
    assert set(_orders(db).values()) == {("SENT", "AUTO")}
    assert len(broker.placed) == 2


def test_a_call_that_waited_for_a_thread_too_long_is_not_begun(
    send: Send, db: Session, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then somebody may have settled the order, and a person may have sent it."""
    monkeypatch.setattr(threads, "THREADS", 1)
    now, place = asked.utc_now, broker.place_order

    def stalls(order: Order, **more: Any) -> str:
        monkeypatch.setattr(asked, "utc_now", lambda: now() + BEGIN_WITHIN + timedelta(seconds=1))
        return place(order, **more)

    monkeypatch.setattr(broker, "place_order", stalls)
    answers = send("A", "B")
    assert sorted(answer.json().get("dispatch", "") for answer in answers) == ["", "WAITING"]
    assert sorted(_orders(db).values()) == [("SENT", "AUTO"), ("WAITING", "MANUAL")]
    assert len(broker.placed) == 1
    assert sorted(_messages(db)) == sorted([SENT, ENDED, "AUTO order moved to waiting queue"])


def test_a_broker_that_does_not_answer_keeps_no_call_of_another_waiting(
    send: Send, db: Session, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "THREADS", 1)
    start, answers, asked_for = Pools.start, threading.Event(), set[str]()

    def beside_one_that_stalls(pools: Pools, to: str, work: Callable[[], None]) -> None:
        asked_for.add(to)
        start(pools, "another", lambda: answers.wait(60) and None)
        start(pools, to, work)

    monkeypatch.setattr(Pools, "start", beside_one_that_stalls)
    place = broker.place_order

    def placed(order: Order, **more: Any) -> str:
        answers.set()
        return place(order, **more)

    monkeypatch.setattr(broker, "place_order", placed)
    assert [answer.status_code for answer in send("A", "B")] == [201] * 2
    assert set(_orders(db).values()) == {("SENT", "AUTO")}
    assert asked_for == {"zerodha"}


def test_an_answer_that_somebody_else_has_stored_has_one_event(
    send: Send, db: Session, session_factory: Callable[[], Session], settings: Settings, broker: FakeBroker
) -> None:
    """Stopped after the broker's answer, and settled by another process, which ends the signal as well."""

    def settled_by_another() -> None:
        with session_factory() as other:
            earlier = utc_now() - UNKNOWN_AFTER - timedelta(minutes=1)
            other.execute(update(Order).where(Order.status == "SENDING").values(updated_at=earlier))
            other.commit()
            assert list(settle_unknown(other, settings).values()) == [Found.PLACED]

    with arm(Failpoint.ORDER_PLACED, settled_by_another):
        assert [answer.status_code for answer in send("A")] == [201]
    assert _messages(db) == [SENT, ENDED]
    assert _orders(db) == {"A": ("SENT", "AUTO")}
