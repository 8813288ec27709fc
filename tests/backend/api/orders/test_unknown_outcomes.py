"""A broker is asked for an order once; when nobody knows the outcome, it is asked for the order's key instead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.models import Order, SystemEvent, User
from app.services.brokers.clients import BrokerError, OutcomeUnknown, idempotency_key
from app.services.brokers.outside import OUTSIDE
from app.services.orders.execution import execute_stored_order
from app.services.orders.queue import check_requeue
from app.services.orders.sending import asked
from app.services.orders.sending.unknown import GIVE_UP_AFTER, Found, settle_unknown
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.api.fake_broker import FakeBroker

BUY: dict[str, Any] = {
    "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": "NSE:TCS",
    "trade_details": {"order_action": "BUY", "quantity": 3},
}  # fmt: skip
AFTER_HOURS = "Try placing an AMO order"
LATER = asked.UNKNOWN_AFTER + timedelta(seconds=1)


@pytest.fixture
def order(db: Session, user: User) -> Order:
    """A waiting order."""
    row = Order(
        user_id=user.id, symbol="NSE:TCS", exchange="NSE", side="BUY", qty=1.0, client_order_id="k",
        mode="AUTO", broker_name="zerodha",
    )  # fmt: skip
    db.add(row)
    db.commit()
    return row


@pytest.fixture
def in_doubt(db: Session, settings: Settings, order: Order, broker: FakeBroker) -> Order:
    """An order that the broker has taken without saying so, some time ago."""
    broker.answers = [OutcomeUnknown("timed out")]
    with pytest.raises(asked.AskedInVain):
        execute_stored_order(db, settings, order.id, None)
    _age(db, LATER)
    return order


def _age(db: Session, age: timedelta) -> None:
    for order_id, at in db.execute(select(Order.id, Order.updated_at)).all():
        db.execute(update(Order).where(Order.id == order_id).values(updated_at=at - age))
    db.commit()
    db.expire_all()


def _row(db: Session) -> tuple[str, str, str | None]:
    db.rollback()
    return tuple(db.execute(select(Order.status, Order.mode, Order.broker_order_id)).one())  # type: ignore[return-value]


def test_the_row_says_so_before_the_broker_is_called(
    db: Session, settings: Settings, session_factory: Callable[[], Session], order: Order, broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen = []

    def look(given: Order, **_named: Any) -> str:
        with session_factory() as other:
            seen.append(other.scalar(select(Order.status)))
        return "B1"

    monkeypatch.setattr(broker, "place_order", look)
    execute_stored_order(db, settings, order.id, None)
    assert (seen, _row(db)) == (["SENDING"], ("SENT", "AUTO", "B1"))


def test_of_many_that_send_an_order_one_does(
    settings: Settings, session_factory: Callable[[], Session], order: Order, broker: FakeBroker
) -> None:
    together = threading.Barrier(4)

    def send(_number: int) -> int:
        with session_factory() as session:
            seen = session.get_one(Order, order.id)
            session.commit()
            assert seen.status == "WAITING"  # each goes on with what it has seen
            together.wait()
            try:
                execute_stored_order(session, settings, order.id, None)
            except asked.HTTPException as refused:
                return refused.status_code
        return 200

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(send, range(4))) == [200, 400, 400, 400]
    assert len(broker.placed) == 1


@pytest.mark.parametrize(
    "error", [OutcomeUnknown("timed out"), OutcomeUnknown(AFTER_HOURS), ConnectionResetError("gone")]
)
def test_a_call_without_an_answer_is_told_as_such(
    logged_in: TestClient, db: Session, user: User, order: Order, broker: FakeBroker, error: Exception
) -> None:
    broker.answers = [error]
    answer = logged_in.post(f"/api/orders/{order.id}/execute")
    assert answer.status_code == 504
    assert idempotency_key(order) in answer.json()["detail"]
    assert _row(db) == ("SENDING", "AUTO", None)
    # Nothing sends it once more or takes it for a waiting one.
    assert logged_in.post(f"/api/orders/{order.id}/execute").status_code == 400
    assert logged_in.patch(f"/api/orders/{order.id}/status", json={"status": "CANCELLED"}).status_code == 400
    db.expire_all()
    with pytest.raises(asked.HTTPException):
        check_requeue(order, user)
    assert len(broker.placed) == 1


@pytest.mark.parametrize("is_open", [True, False])
def test_of_two_that_simulate_an_order_one_does(
    settings: Settings, session_factory: Callable[[], Session], db: Session, order: Order,
    monkeypatch: pytest.MonkeyPatch, is_open: bool,
) -> None:  # fmt: skip
    """The second one comes after the first one has seen that the order waits."""
    order.execution_target = "PAPER"
    db.commit()

    def ask_slowly() -> bool:
        monkeypatch.setattr(OUTSIDE, "market_is_open", lambda: is_open)
        db.commit()
        with session_factory() as other, suppress(asked.HTTPException):
            execute_stored_order(other, settings, order.id, None)
        return is_open

    monkeypatch.setattr(OUTSIDE, "market_is_open", ask_slowly)
    with pytest.raises(asked.HTTPException, match=asked.NOT_WAITING):
        execute_stored_order(db, settings, order.id, None)
    assert _row(db)[0] == ("SENT" if is_open else "FAILED")
    assert len(db.scalars(select(SystemEvent.message)).all()) == 1


@pytest.mark.parametrize("fallback", [True, False])
def test_an_alert_without_the_brokers_answer_is_accepted(
    client: TestClient, db: Session, settings: Settings, broker: FakeBroker, fallback: bool
) -> None:
    config = TradingViewWebhookConfig(mode="AUTO", fallback_to_waiting_on_error=fallback)
    set_tradingview_webhook_config(db, settings, config)
    broker.answers = [OutcomeUnknown("timed out")]
    answer = client.post("/webhook", json=BUY)
    assert (answer.status_code, answer.json()["dispatch"]) == (201, "PENDING")
    assert _row(db) == ("SENDING", "AUTO", None)
    assert client.post("/webhook", json=BUY).json()["status"] == "deduped"
    assert len(broker.placed) == 1


def test_the_order_is_found_at_the_broker(
    db: Session, settings: Settings, in_doubt: Order, broker: FakeBroker
) -> None:
    assert settle_unknown(db, settings) == {in_doubt.id: Found.PLACED}
    assert (_row(db), len(broker.placed)) == (("SENT", "AUTO", "B1"), 1)
    assert settle_unknown(db, settings) == {}
    assert db.scalars(select(SystemEvent.message)).all() == ["Order sent to zerodha"]


def test_of_two_that_settle_an_order_one_does(
    db: Session, settings: Settings, session_factory: Callable[[], Session], in_doubt: Order,
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The second one asks while the first one's answer is on its way."""
    ask, found = broker.find_order, list[Found]()

    def ask_slowly(key: str) -> str | None:
        monkeypatch.setattr(broker, "find_order", ask)
        with session_factory() as other:
            found.extend(settle_unknown(other, settings).values())
        return ask(key)

    monkeypatch.setattr(broker, "find_order", ask_slowly)
    found.extend(settle_unknown(db, settings).values())
    assert found == [Found.PLACED, Found.MOVED]
    assert _row(db) == ("SENT", "AUTO", "B1")
    assert db.scalars(select(SystemEvent.message)).all() == ["Order sent to zerodha"]


def test_an_order_that_the_broker_does_not_have_is_left_to_a_person(
    client: TestClient, db: Session, settings: Settings, in_doubt: Order, broker: FakeBroker
) -> None:
    broker.ids.clear()
    assert settle_unknown(db, settings) == {in_doubt.id: Found.MISSING}
    assert [one["id"] for one in client.get("/api/orders/queue").json()] == [in_doubt.id]
    assert len(broker.placed) == 1


def test_a_broker_that_cannot_say_is_asked_again_and_then_a_person(
    client: TestClient, db: Session, settings: Settings, in_doubt: Order, broker: FakeBroker
) -> None:
    broker.silent = True
    assert settle_unknown(db, settings) == {in_doubt.id: Found.SILENT}
    assert _row(db) == ("SENDING", "AUTO", None)
    _age(db, GIVE_UP_AFTER)
    assert settle_unknown(db, settings) == {in_doubt.id: Found.SILENT}
    queue = client.get("/api/orders/queue").json()
    assert idempotency_key(in_doubt) in queue[0]["error_message"]


def test_a_call_that_may_be_under_way_is_waited_for(
    db: Session, settings: Settings, order: Order, broker: FakeBroker
) -> None:
    broker.answers = [OutcomeUnknown("timed out")]
    with pytest.raises(asked.AskedInVain):
        execute_stored_order(db, settings, order.id, None)
    assert settle_unknown(db, settings) == {}


def test_an_answer_that_comes_late_counts(
    db: Session, session_factory: Callable[[], Session], settings: Settings, order: Order, broker: FakeBroker
) -> None:
    """Stopped after the broker's answer, taken for lost by another process, and then going on."""

    def settled_by_another() -> None:
        with session_factory() as other:
            _age(other, LATER)
            broker.ids.clear()  # as a broker that lists its orders late
            assert list(settle_unknown(other, settings).values()) == [Found.MISSING]

    with arm(Failpoint.ORDER_PLACED, settled_by_another):
        execute_stored_order(db, settings, order.id, None)
    assert _row(db) == ("SENT", "MANUAL", "B1")
    assert db.scalars(select(Order.error_message)).one() is None


@pytest.mark.parametrize("point", [Failpoint.ORDER_ASKED, Failpoint.ORDER_PLACED])
def test_a_process_that_ends_in_between_leaves_it_in_doubt(
    db: Session, settings: Settings, order: Order, broker: FakeBroker, point: Failpoint
) -> None:
    with arm(point, "raise"), pytest.raises(FailpointError):
        execute_stored_order(db, settings, order.id, None)
    assert _row(db) == ("SENDING", "AUTO", None)
    _age(db, LATER)
    outcome = Found.MISSING if point is Failpoint.ORDER_ASKED else Found.PLACED
    assert settle_unknown(db, settings) == {order.id: outcome}
    assert len(broker.placed) == (point is Failpoint.ORDER_PLACED)


def test_a_note_that_took_too_long_is_taken_back(
    db: Session, settings: Settings, order: Order, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker might be asked for the key meanwhile, and say that it does not have the order."""
    monkeypatch.setattr(asked, "BEGIN_WITHIN", timedelta(0))
    with pytest.raises(asked.HTTPException, match="too long"):
        execute_stored_order(db, settings, order.id, None)
    assert (_row(db), broker.placed) == (("WAITING", "AUTO", None), [])


def test_a_late_refusal_is_not_followed_by_a_second_call(
    db: Session, settings: Settings, order: Order, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be under way when another process asks for the key."""

    def refuse_late(_order: Order, *, variety: str = "regular") -> str:
        calls.append(variety)
        monkeypatch.setattr(asked, "BEGIN_WITHIN", timedelta(0))
        raise BrokerError(AFTER_HOURS)

    calls: list[str] = []
    monkeypatch.setattr(broker, "place_order", refuse_late)
    with pytest.raises(asked.HTTPException, match="AMO"):
        execute_stored_order(db, settings, order.id, None)
    assert (calls, _row(db)) == (["regular"], ("FAILED", "AUTO", None))


def test_a_slow_look_does_not_end_a_call_that_began_meanwhile(
    db: Session, session_factory: Callable[[], Session], settings: Settings, in_doubt: Order, broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """While one process asks for the key, another one has its answer, and a person executes the order anew."""
    broker.ids.clear()

    meanwhile: list[dict[int, Found]] = []

    def look(_key: str) -> None:
        if meanwhile:
            return
        meanwhile.append({})
        broker.answers = [OutcomeUnknown("timed out")]
        with session_factory() as other, suppress(asked.AskedInVain):
            meanwhile.append(settle_unknown(other, settings))
            execute_stored_order(other, settings, in_doubt.id, None)

    monkeypatch.setattr(broker, "find_order", look)
    assert settle_unknown(db, settings) == {in_doubt.id: Found.MOVED}
    assert meanwhile == [{}, {in_doubt.id: Found.MISSING}]
    assert _row(db) == ("SENDING", "MANUAL", None)


def test_a_synthetic_order_that_its_watch_has_taken_is_sent(
    db: Session, settings: Settings, order: Order, broker: FakeBroker
) -> None:
    order.synthetic_gtt, order.status = True, "SENDING"
    db.commit()
    execute_stored_order(db, settings, order.id, None)
    assert _row(db) == ("SENT", "AUTO", "B1")


def test_the_key_belongs_to_one_order(db: Session, order: Order) -> None:
    key = idempotency_key(order)
    assert (len(key), key.isalnum()) == (20, True)
    db.expire_all()
    assert idempotency_key(order) == key
    order.created_at += timedelta(microseconds=1)  # the same id after a backup was restored
    assert idempotency_key(order) != key
