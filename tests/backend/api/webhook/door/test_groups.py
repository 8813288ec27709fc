"""What arrives together is stored together, and each delivery has the answer that it would have alone."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.errors import Busy
from app.models import Alert, BrokerConnection, Order, Position, Strategy, SystemEvent, User
from app.services.brokers.clients import CLIENT_FACTORIES
from app.services.webhook.door import group
from app.services.webhook.door.line import TOO_MANY, Line
from app.services.webhook.door.outside import alone
from app.services.webhook.door.outside.dispatcher import Dispatcher
from app.services.webhook.door.writer import WRITER
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.api_values import SERVED, WEBHOOK_SECRET
from tests.backend.api.fake_broker import FakeBroker
from tests.backend.api.webhook.groups import Together

BAR = "2026-01-27T05:45:00Z"
# A commit to a file is acknowledged, or it did not take place.
ON_POSTGRES = pytest.mark.parametrize(
    "served_by", [name for name in SERVED if "postgres" in name], indirect=True
)


def _delivery(symbol: str = "TCS", side: str = "BUY", **more: Any) -> dict[str, Any]:
    details = {"order_action": side, "quantity": 10, "price": 812.37}
    body = {
        "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": f"NSE:{symbol}",
        "order_id": "L-1", "bar_time": BAR, "trade_details": details,
    }  # fmt: skip
    return {"json": body | more}


@pytest.fixture
def together(client: TestClient, user: User, monkeypatch: pytest.MonkeyPatch) -> Together:
    return Together(monkeypatch)


def _count(db: Session, model: type[Any]) -> int:
    db.rollback()
    return db.scalar(select(func.count()).select_from(model)) or 0


def test_a_group_is_one_look_and_three_statements_in_one_commit(
    together: Together, db: Session, statements: list[str], endings: list[str]
) -> None:
    answers = together([_delivery(f"S{number}") for number in range(40)])
    assert {answer.status_code for answer in answers} == {201}
    assert [statement.split()[0] for statement in statements] == ["SELECT"] + ["INSERT"] * 3
    assert endings == ["commit"]
    for answer in answers:
        body = answer.json()
        order = db.get_one(Order, body["order_id"])
        assert (order.alert_id, body["status"]) == (body["alert_id"], "accepted")
    symbols = db.scalars(select(Alert.symbol).order_by(Alert.id)).all()
    assert symbols == [f"NSE:S{number}" for number in range(40)]  # in the order of their arrival
    events = db.scalars(select(SystemEvent.details).order_by(SystemEvent.id)).all()
    assert [f'"NSE:S{number}"' in (text or "") for number, text in enumerate(events)] == [True] * 40


def test_of_copies_in_a_group_the_first_counts(together: Together, db: Session) -> None:
    answers = [a.json() for a in together([_delivery("A"), _delivery("B"), *[_delivery("A")] * 3])]
    assert together.sizes == [5]
    first = answers[0]
    copy = {"status": "deduped", "order_id": first["order_id"], "alert_id": first["alert_id"]}
    assert [answer["status"] for answer in answers[:2]] == ["accepted"] * 2
    assert answers[2:] == [copy] * 3
    assert (_count(db, Alert), _count(db, Order), _count(db, SystemEvent)) == (2, 2, 5)


def test_refusals_are_noted_in_the_same_transaction(
    together: Together, db: Session, endings: list[str]
) -> None:
    answers = together([
        _delivery("A"), _delivery("B", secret="wrong"), _delivery("C", trade_details={"order_action": "x"}),
        _delivery("D", platform="other"), _delivery("E", st_user_id="nobody"), {"content": b"BUY",
        "headers": {"content-type": "text/plain"}}, _delivery("F"),
    ])  # fmt: skip
    assert [answer.status_code for answer in answers] == [201, 401, 400, 201, 201, 400, 201]
    assert endings == ["commit"]
    assert (_count(db, Order), _count(db, SystemEvent)) == (2, 6)


@pytest.fixture
def refuses_poison(engine: Engine) -> Any:
    """A database that refuses an order of one symbol."""
    if engine.dialect.name == "sqlite":
        make = ["CREATE TRIGGER poison BEFORE INSERT ON orders WHEN NEW.symbol LIKE 'NSE:POISON%' "
                "BEGIN SELECT RAISE(ABORT, 'poison'); END"]  # fmt: skip
        drop = ["DROP TRIGGER poison"]
    else:
        make = ["ALTER TABLE orders ADD CONSTRAINT poison CHECK (symbol NOT LIKE 'NSE:POISON%%')"]
        drop = ["ALTER TABLE orders DROP CONSTRAINT poison"]
    for statements in (make, drop):
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        if statements is make:
            yield


def test_one_that_a_constraint_refuses_takes_no_others_down(
    together: Together, db: Session, refuses_poison: None
) -> None:
    names = [f"S{number}" for number in range(20)]
    names[7] = "POISON1"
    names[13] = "POISON2"
    answers = together([_delivery(name) for name in names])
    expected = [409 if name.startswith("POISON") else 201 for name in names]
    assert [answer.status_code for answer in answers] == expected
    assert answers[7].json() == {"detail": "The change conflicts with stored data."}
    assert (_count(db, Alert), _count(db, Order), _count(db, SystemEvent)) == (18, 18, 18)


def test_manual_auto_and_sells_in_one_group(
    together: Together, db: Session, settings: Settings, broker: FakeBroker
) -> None:
    """AUTO by strategy is dispatched after the commit, a SELL takes the cached or the broker's position."""
    db.add(Strategy(name="auto", execution_mode="AUTO", execution_target="LIVE"))
    cached = {"broker_name": "zerodha", "exchange": "NSE", "product": "CNC", "avg_price": 1.0}
    db.add(Position(symbol="CACHED", qty=4.0, **cached))
    db.commit()
    broker.positions = [{"symbol": "ATBROKER", "exchange": "NSE", "product": "CNC", "qty": 6}]
    answers = together([
        _delivery("M"), _delivery("A", strategy_name="auto"), _delivery("CACHED", "SELL"),
        _delivery("ATBROKER", "SELL"), _delivery("ATBROKER", "SELL"), _delivery("GONE", "SELL"),
    ])  # fmt: skip
    assert [answer.json()["status"] for answer in answers] == [
        "accepted", "accepted", "accepted", "accepted", "deduped", "accepted",
    ]  # fmt: skip
    assert answers[4].json()["order_id"] == answers[3].json()["order_id"]
    rows = db.execute(select(Order.symbol, Order.mode, Order.status, Order.qty, Order.is_exit)).all()
    assert sorted(tuple(row) for row in rows) == [
        ("NSE:A", "AUTO", "SENT", 10.0, False), ("NSE:ATBROKER", "MANUAL", "WAITING", 6.0, True),
        ("NSE:CACHED", "MANUAL", "WAITING", 4.0, True), ("NSE:GONE", "MANUAL", "WAITING", 10.0, False),
        ("NSE:M", "MANUAL", "WAITING", 10.0, False),
    ]  # fmt: skip


def test_a_broker_that_does_not_answer_does_not_hold_a_sell(
    together: Together, db: Session, settings: Settings, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "webhook_broker_timeout_ms", 50)
    answered = threading.Event()
    monkeypatch.setattr(broker, "list_holdings", lambda: answered.wait(10) and [])
    answer = together([_delivery("TCS", "SELL")])[0]
    answered.set()
    assert answer.json()["status"] == "accepted"
    assert db.scalars(select(Order.qty)).all() == [10.0]


def test_a_slow_dispatch_is_answered_in_time_and_goes_on(
    together: Together, db: Session, settings: Settings, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
    monkeypatch.setattr(settings, "webhook_max_wait_ms", 700)
    answered, place = threading.Event(), broker.place_order
    monkeypatch.setattr(broker, "place_order", lambda order: answered.wait(10) and place(order))
    answer = together([_delivery()])[0].json()
    assert (answer["status"], answer["dispatch"]) == ("accepted", "PENDING")
    assert db.scalars(select(Order.status)).all() == ["SENDING"]
    answered.set()
    WRITER.stop()  # waits for the dispatch
    db.rollback()
    assert db.scalars(select(Order.status)).all() == ["SENT"]


def test_a_dispatch_that_could_not_begin_in_time_is_left_to_a_person(
    together: Together, db: Session, settings: Settings, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
    monkeypatch.setattr(settings, "webhook_max_wait_ms", 700)
    late: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(Dispatcher, "join", lambda *joins: late.append(joins))
        assert together([_delivery()])[0].json()["dispatch"] == "PENDING"
    Dispatcher.join(*late[0])
    WRITER.stop()  # waits for the dispatch
    row = db.execute(select(Order.mode, Order.status, Order.error_message)).one()
    assert tuple(row) == ("MANUAL", "WAITING", alone.TOO_LATE)
    assert broker.placed == []


def test_one_that_waits_too_long_is_refused_and_not_stored(
    client: TestClient, db: Session, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer comes back after the answer: it finds the delivery gone from the line."""
    together = Together(monkeypatch)
    monkeypatch.setattr(settings, "webhook_max_wait_ms", 150)
    monkeypatch.setattr(Together, "complete", lambda self, line: self._answered == 2)
    began = time.monotonic()
    answers = together([_delivery("A"), _delivery("B")])
    assert [(a.status_code, a.headers["retry-after"]) for a in answers] == [(503, "2")] * 2
    assert time.monotonic() - began < 2
    WRITER.stop()
    assert (_count(db, Alert), _count(db, SystemEvent)) == (0, 0)
    assert together.sizes[0] == 2


def test_one_that_is_late_just_before_the_commit_leaves_the_others(
    together: Together, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_all = group._Transaction.insert_all

    def insert_until_the_first_is_late(transaction: group._Transaction) -> None:
        monkeypatch.setattr(group._Transaction, "insert_all", insert_all)
        insert_all(transaction)
        transaction._group[0].deadline = 0.0

    monkeypatch.setattr(group._Transaction, "insert_all", insert_until_the_first_is_late)
    answers = together([_delivery("A"), _delivery("B"), _delivery("C")])
    assert [answer.status_code for answer in answers] == [503, 201, 201]
    assert answers[0].json() == {"detail": TOO_MANY}  # at once: it is known not to be stored
    assert db.scalars(select(Order.symbol).order_by(Order.id)).all() == ["NSE:B", "NSE:C"]


def test_a_full_line_refuses_at_once(
    client: TestClient, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Together(monkeypatch)
    monkeypatch.setattr(settings, "webhook_queue", 3)
    answers = together([_delivery(f"S{number}") for number in range(5)])
    assert [answer.status_code for answer in answers] == [201] * 3 + [503] * 2


def test_the_predicted_wait_decides_beyond_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    line.done(500, 5.0)  # 10 ms each
    line._waiting.extend([object()] * 499)  # type: ignore[list-item]  # they are only counted
    line.check(1_000, 2.0)
    line._waiting.append(object())  # type: ignore[arg-type]  # likewise
    line.check(1_000, 6.0)
    for waited in (0.0, 0.9):
        with pytest.raises(Busy, match=TOO_MANY):
            line.check(1_000, 5.5 if waited else 2.0, waited)


def test_slow_single_deliveries_do_not_refuse_a_burst() -> None:
    """Each has paid for a transaction of its own; in a group they would have shared one."""
    line = Line()
    for _number in range(50):
        line.done(1, 0.02)
    line._waiting.extend([object()] * 1_000)  # type: ignore[list-item]  # they are only counted
    line.check(2_000, 2.0)


def test_a_stall_that_is_over_refuses_nobody() -> None:
    """Behind a lock of 20 s, each group took as long as a delivery may wait."""
    line = Line()
    for _number in range(10):
        line.done(1, 2.0)
    line.done(1, 0.01)
    line._waiting.extend([object()] * 1_000)  # type: ignore[list-item]  # they are only counted
    line.check(2_000, 2.0)


def test_what_a_late_loop_reads_has_waited_already() -> None:
    with pytest.raises(Busy):
        Line().check(1_000, 2.0, 2.1)


@ON_POSTGRES
def test_a_lost_acknowledgement_is_no_second_delivery(
    together: Together, db: Session, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit took place, its acknowledgement did not arrive: each order is there once and is sent once."""
    db.add(Strategy(name="auto", execution_mode="AUTO", execution_target="LIVE"))
    db.commit()
    commit = Session.commit

    def lose(session: Session) -> None:
        commit(session)
        if threading.current_thread().name == "st-webhook-writer":
            monkeypatch.setattr(Session, "commit", commit)
            raise OperationalError("COMMIT", {}, Exception("gone"), connection_invalidated=True)

    monkeypatch.setattr(Session, "commit", lose)
    deliveries = [_delivery("A"), _delivery("B", strategy_name="auto"), _delivery("A")]
    answers = [answer.json() for answer in together(deliveries)]
    assert [answer["status"] for answer in answers] == ["accepted", "accepted", "deduped"]
    assert (_count(db, Alert), _count(db, Order), len(broker.placed)) == (2, 2, 1)


@ON_POSTGRES
def test_a_commit_that_did_not_take_place_is_done_again(
    together: Together, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Session.commit

    def fail(session: Session) -> None:
        if threading.current_thread().name == "st-webhook-writer":
            monkeypatch.setattr(Session, "commit", commit)
            session.rollback()
            raise OperationalError("COMMIT", {}, Exception("gone"), connection_invalidated=True)
        commit(session)

    monkeypatch.setattr(Session, "commit", fail)
    answers = [answer.json()["status"] for answer in together([_delivery("A"), _delivery("B")])]
    assert answers == ["accepted"] * 2
    assert (_count(db, Alert), _count(db, Order), _count(db, SystemEvent)) == (2, 2, 2)


def test_a_locked_database_is_a_refusal_in_time(
    together: Together, db: Session, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "webhook_max_wait_ms", 300)
    lock = (
        "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"
    )
    with engine.connect() as other:
        if engine.dialect.name == "sqlite":
            other.connection.dbapi_connection.execute(lock)  # type: ignore[union-attr]
        else:
            other.exec_driver_sql(lock)
        began = time.monotonic()
        answers = together([_delivery("A"), _delivery("B")])
        assert time.monotonic() - began < 2.5
        assert [(a.status_code, a.headers["retry-after"]) for a in answers] == [(503, "2")] * 2
        other.rollback()
    WRITER.stop()
    assert _count(db, Order) == 0


def test_two_brokers_are_not_needed_for_an_unconnected_sell(
    together: Together, db: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client can be made but the user has no connection: the alert's quantity stands."""
    monkeypatch.setitem(CLIENT_FACTORIES, "zerodha", lambda _settings, _connection: FakeBroker())
    assert _count(db, BrokerConnection) == 0
    assert together([_delivery("TCS", "SELL")])[0].json()["status"] == "accepted"
    assert db.scalars(select(Order.qty)).all() == [10.0]
