"""What one delivery, or one failed try, must not do to the others of its group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from psycopg.errors import ReadOnlySqlTransaction
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import IntegrityError, InternalError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.models import Order, SystemEvent, User
from app.services.webhook.door import group, writer
from app.services.webhook.door.outside import threads
from app.services.webhook.door.outside.threads import THREADS
from app.services.webhook.door.waiting import Waiting
from app.services.webhook.door.writer import WRITER
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.api.fake_broker import FakeBroker
from tests.backend.api.webhook.groups import Together


def _delivery(symbol: str, side: str = "BUY", **more: Any) -> dict[str, Any]:
    body = {
        "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": f"NSE:{symbol}",
        "order_id": "L-1", "bar_time": "2026-01-27T05:45:00Z",
        "trade_details": {"order_action": side, "quantity": 10, "price": 812.37},
    }  # fmt: skip
    return {"json": body | more}


@pytest.fixture
def together(client: TestClient, user: User, monkeypatch: pytest.MonkeyPatch) -> Together:
    return Together(monkeypatch)


def _first_tries(monkeypatch: pytest.MonkeyPatch, *fail: Callable[[list[Waiting]], None]) -> None:
    """Let something happen at the end of the first tries to store a group, before the commit."""
    store, left = group.store_group, list(fail)
    insert_all = group._Transaction.insert_all

    def insert(transaction: group._Transaction) -> None:
        insert_all(transaction)
        if left:
            left.pop(0)(list(transaction._group))

    monkeypatch.setattr(group._Transaction, "insert_all", insert)
    assert store is writer.store_group


def _clash(_members: list[Waiting]) -> None:
    raise IntegrityError("INSERT", {}, Exception("another process was faster"))


def test_a_sell_and_its_copy_leave_a_group_that_is_tried_again_once(
    together: Together, db: Session, settings: Settings, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried again as a whole and then in halves: the copy is in line once, and the AUTO order is sent."""
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
    broker.positions = [{"symbol": "HELD", "exchange": "NSE", "product": "CNC", "qty": 6}]
    _first_tries(monkeypatch, _clash, _clash)
    answers = together([_delivery("HELD", "SELL"), _delivery("B"), _delivery("C"), _delivery("HELD", "SELL")])
    told = [answer.json()["status"] for answer in answers]
    assert told[1:3] == ["accepted"] * 2
    assert sorted(told) == ["accepted"] * 3 + ["deduped"]  # which half is first at the broker is open
    assert answers[3].json()["order_id"] == answers[0].json()["order_id"]
    WRITER.stop()
    assert db.scalars(select(Order.status)).all() == ["SENT"] * 3
    messages = list(db.scalars(select(SystemEvent.message)))
    assert messages.count("TradingView webhook deduped (client_order_id already exists)") == 1


def test_a_copy_of_a_sell_whose_broker_breaks_is_asked_for_by_itself(
    together: Together, db: Session, settings: Settings, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
    broker.holdings = [{"symbol": "HELD", "exchange": "NSE", "qty": 6}]
    resolve, faults = threads.resolve_tradingview_sell_qty, [RuntimeError("broken")]

    def ask(*arguments: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return resolve(*arguments, **options)

    monkeypatch.setattr(threads, "resolve_tradingview_sell_qty", ask)
    _first_tries(monkeypatch, _clash)
    answers = together([_delivery("HELD", "SELL"), _delivery("B"), _delivery("HELD", "SELL")])
    assert [answer.status_code for answer in answers] == [500, 201, 201]
    assert answers[1].json()["status"] == answers[2].json()["status"] == "accepted"
    WRITER.stop()
    assert db.scalars(select(Order.status)).all() == ["SENT"] * 2


def test_one_whose_time_is_up_at_a_lock_leaves_time_to_the_others(
    together: Together, db: Session, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group waits for the lock no longer than the first may wait; the lock goes, and the others are stored."""
    lock = "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"
    if engine.dialect.name == "sqlite":
        lock = "BEGIN IMMEDIATE"
    begin_write, tries = group.begin_write, list[float]()
    with closing(engine.raw_connection()) as other:
        other.cursor().execute(lock)
        store_group = writer.store_group

        def store(session: Session, members: list[Waiting]) -> Any:
            if not tries:
                members[0].deadline -= 1.9
            elif len(tries) == 1:
                other.rollback()
            return store_group(session, members)

        def begin(session: Session, patience_s: float) -> None:
            tries.append(patience_s)
            begin_write(session, patience_s)

        monkeypatch.setattr(writer, "store_group", store)
        monkeypatch.setattr(group, "begin_write", begin)
        answers = together([_delivery("A"), _delivery("B"), _delivery("C")])
    assert [answer.status_code for answer in answers] == [503, 201, 201]
    assert db.scalars(select(Order.symbol).order_by(Order.id)).all() == ["NSE:B", "NSE:C"]


def test_a_database_that_takes_no_writes_is_asked_once(
    together: Together, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has become a standby: each is refused, and nobody tries all halves."""
    tries: list[int] = []

    def refuse(_session: Session, members: list[Waiting]) -> None:
        tries.append(len(members))
        raise InternalError("INSERT", {}, ReadOnlySqlTransaction("read-only transaction"))

    monkeypatch.setattr(writer, "store_group", refuse)
    answers = together([_delivery("A"), _delivery("B"), _delivery("C")])
    assert [(answer.status_code, answer.headers["retry-after"]) for answer in answers] == [(503, "2")] * 3
    assert tries == [3]


def test_sells_that_wait_for_a_broker_take_no_thread_each(
    together: Together, db: Session, settings: Settings, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When their time is up, those that stand in line for a thread are not asked for any more."""
    monkeypatch.setattr(settings, "webhook_broker_timeout_ms", 300)
    counts: list[int] = []
    is_over = threading.Event()

    def ask() -> list[Any]:
        counts.append(threading.active_count())
        is_over.wait(30)
        return []

    monkeypatch.setattr(broker, "list_holdings", ask)
    before = threading.active_count()
    answers = together([_delivery(f"S{number}", "SELL") for number in range(3 * THREADS)])
    assert {answer.json()["status"] for answer in answers} == {"accepted"}
    is_over.set()
    WRITER.stop()
    assert len(counts) == THREADS
    assert max(counts) <= before + THREADS + 2


@contextmanager
def _disk_without_room(engine: Engine) -> Iterator[None]:
    """A file that may not grow, or a server that says what it says when its disk is full."""
    if engine.dialect.name == "sqlite":

        def limit(raw: Any, *_: Any) -> None:
            raw.execute(f"PRAGMA max_page_count = {raw.execute('PRAGMA page_count').fetchone()[0]}")

        event.listen(engine, "checkout", limit)
        yield
        event.remove(engine, "checkout", limit)
        engine.dispose()  # new connections have no limit
        return
    full = "BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END"
    with engine.begin() as connection:
        connection.execute(
            text(f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $${full}$$")
        )
        connection.execute(
            text("CREATE TRIGGER full_disk BEFORE INSERT ON orders EXECUTE FUNCTION full_disk()")
        )
    yield
    with engine.begin() as connection:
        connection.execute(text("DROP FUNCTION full_disk CASCADE"))


def test_a_full_disk_refuses_the_group_and_takes_the_resend(
    together: Together, db: Session, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is stored, nobody tries halves, and once there is room everything is stored once."""
    # Each is longer than a page of SQLite, so that not even one finds room.
    details = {"order_action": "BUY", "quantity": 10, "price": 812.37, "comment": "long " * 2_000}
    deliveries = [_delivery(f"D{number}", trade_details=details) for number in range(60)]
    tries: list[int] = []
    store_group = writer.store_group

    def store(session: Session, members: list[Waiting]) -> Any:
        tries.append(len(members))
        return store_group(session, members)

    monkeypatch.setattr(settings, "webhook_max_wait_ms", 30_000)
    monkeypatch.setattr(writer, "store_group", store)
    with _disk_without_room(engine):
        answers = together(deliveries)
        assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} == {(503, "2")}
        assert sum(tries) == 60
        assert db.scalars(select(Order.id)).all() == []
        db.rollback()
    assert {answer.json()["status"] for answer in together(deliveries)} == {"accepted"}
    assert len(db.scalars(select(Order.id)).all()) == 60
