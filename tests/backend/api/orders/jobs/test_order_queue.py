"""ST_WEBHOOK_DISPATCH=queue: the job is stored with the order, and a worker sends the order once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.models import Order, OrderJob, SystemEvent, User
from app.services.brokers.clients import OutcomeUnknown
from app.services.orders import stranded
from app.services.orders.sending.asked import UNKNOWN_AFTER
from app.services.orders.sending.jobs import ORDERS
from app.services.orders.stranded import move_stranded_orders
from app.services.shared.jobs.claim import claim, take_over
from app.services.webhook.door.outside import queued
from app.services.webhook.door.outside.queued import OrderWork
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.fake_broker import FakeBroker
from tests.backend.api.orders.jobs.job_rows import BUY, Sessions, jobs_of, orders_of

pytestmark = pytest.mark.usefixtures("queueing")
CLOSING = "Alert ingested and order created"


def _turn(sessions: Sessions, work: OrderWork, worker: str = "w") -> int:
    """Claim what is due and do it; how many jobs it was."""
    with sessions() as db:
        ids = claim(db, ORDERS, worker, 50)
        db.commit()
    for job_id in ids:
        work(job_id, worker)
    return len(ids)


def _after(sessions: Sessions, age: timedelta) -> None:
    """Let so much time pass for claims, pauses and orders; then what is over is taken over."""
    with sessions() as db:
        for job in db.execute(select(OrderJob.id, OrderJob.locked_at, OrderJob.run_after)).all():
            times = {"locked_at": job[1] and job[1] - age, "run_after": job[2] and job[2] - age}
            db.execute(update(OrderJob).where(OrderJob.id == job[0]).values(times))
        for order_id, at in db.execute(select(Order.id, Order.updated_at)).all():
            db.execute(update(Order).where(Order.id == order_id).values(updated_at=at - age))
        take_over(db, ORDERS)
        db.commit()


LATER = UNKNOWN_AFTER + timedelta(seconds=1)


def _closings(db: Session) -> int:
    db.rollback()
    return db.scalar(select(func.count()).where(SystemEvent.message == CLOSING)) or 0


def test_the_answer_does_not_wait_for_the_broker(
    client: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork
) -> None:
    answer = client.post("/webhook", json=BUY)
    assert (answer.status_code, answer.json()["dispatch"]) == (201, "QUEUED")
    assert (orders_of(db), jobs_of(db), broker.placed) == ([("WAITING", "AUTO")], ["PENDING"], [])
    assert client.post("/webhook", json=BUY).json()["status"] == "deduped"
    assert _turn(session_factory, work) == 1
    assert (orders_of(db), jobs_of(db), len(broker.placed)) == ([("SENT", "AUTO")], ["DONE"], 1)
    assert _closings(db) == 1
    assert _turn(session_factory, work) == 0


def test_a_manual_order_has_no_job(client: TestClient, db: Session, settings: Settings) -> None:
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="MANUAL"))
    assert "dispatch" not in client.post("/webhook", json=BUY).json()
    assert jobs_of(db) == []


def test_a_refused_order_gets_its_copy_in_the_waiting_queue(
    client: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork
) -> None:
    broker.refusals = ["margin"]
    client.post("/webhook", json=BUY)
    _turn(session_factory, work)
    assert (orders_of(db), jobs_of(db)) == ([("FAILED", "AUTO"), ("WAITING", "MANUAL")], ["DONE"])


@pytest.mark.parametrize(
    ("point", "placed", "left"),
    [
        (Failpoint.ORDER_ASKED, 0, ("WAITING", "MANUAL")),
        (Failpoint.ORDER_PLACED, 1, ("SENT", "AUTO")),
        (Failpoint.ORDER_STORED, 1, ("SENT", "AUTO")),
    ],
)
def test_the_next_worker_goes_on_where_one_ended(
    client: TestClient, db: Session, session_factory: Sessions, settings: Settings, broker: FakeBroker,
    work: OrderWork, monkeypatch: pytest.MonkeyPatch, point: Failpoint, placed: int, left: tuple[str, str],
) -> None:  # fmt: skip
    """The outcome is known or found out, the order is not sent again, and the closing event is there once."""
    client.post("/webhook", json=BUY)
    with monkeypatch.context() as patch, arm(point, "raise"), pytest.raises(FailpointError):
        patch.setattr(queued._Job, "fail", _die)
        _turn(session_factory, work)
    assert jobs_of(db) == ["RUNNING"]
    assert _turn(session_factory, work, "next") == 0  # the claim still holds
    _after(session_factory, LATER)
    assert _turn(session_factory, work, "next") == 1
    assert (orders_of(db), jobs_of(db), len(broker.placed)) == ([left], ["DONE"], placed)
    assert _closings(db) == (1 if placed else 0)


def _die(_job: Any, _error: str, **_named: Any) -> str:
    raise FailpointError("a dead worker stores nothing")


def test_a_refusal_whose_worker_died_still_gets_its_copy(
    client: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    broker.refusals = ["margin"]
    client.post("/webhook", json=BUY)
    with monkeypatch.context() as patch, pytest.raises(FailpointError):
        patch.setattr("app.services.webhook.dispatch._after_failure", _die_of_failure)
        patch.setattr(queued._Job, "fail", _die)
        _turn(session_factory, work)
    assert orders_of(db) == [("FAILED", "AUTO")]
    _after(session_factory, LATER)
    _turn(session_factory, work, "next")
    assert (orders_of(db), jobs_of(db)) == ([("FAILED", "AUTO"), ("WAITING", "MANUAL")], ["DONE"])


def _die_of_failure(*_arguments: Any) -> None:
    raise FailpointError("killed")


def test_a_worker_that_stood_still_before_asking_does_not_ask(
    client: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    client.post("/webhook", json=BUY)
    original = queued.dispatch_auto

    def stand_still(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(queued, "dispatch_auto", original)
        _after(session_factory, LATER)
        assert _turn(session_factory, work, "next") == 1  # it has sent the order meanwhile
        return original(*arguments, **named)

    monkeypatch.setattr(queued, "dispatch_auto", stand_still)
    _turn(session_factory, work, "slow")
    assert (orders_of(db), jobs_of(db), len(broker.placed)) == ([("SENT", "AUTO")], ["DONE"], 1)
    assert _closings(db) == 1


def test_a_worker_whose_job_another_one_has_in_its_hands_does_not_ask(
    client: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The order still waits, so only the claim tells that it is the other one's to send."""
    client.post("/webhook", json=BUY)
    original = queued.dispatch_auto

    def stand_still(*arguments: Any, **named: Any) -> Any:
        _after(session_factory, LATER)
        with session_factory() as other:
            assert len(claim(other, ORDERS, "next", 1)) == 1
            other.commit()
        return original(*arguments, **named)

    monkeypatch.setattr(queued, "dispatch_auto", stand_still)
    _turn(session_factory, work, "slow")
    assert (orders_of(db), jobs_of(db), broker.placed) == ([("WAITING", "AUTO")], ["RUNNING"], [])


def test_an_order_that_somebody_is_sending_is_left_alone_until_no_call_can_be_under_way(
    logged_in: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork
) -> None:
    order_id = logged_in.post("/webhook", json=BUY).json()["order_id"]
    broker.answers = [OutcomeUnknown("timed out")]
    assert logged_in.post(f"/api/orders/{order_id}/execute").status_code == 504
    broker.ids.clear()  # the call is still on its way
    assert _turn(session_factory, work) == 1
    assert (orders_of(db), jobs_of(db)) == ([("SENDING", "AUTO")], ["PENDING"])


def test_an_unknown_outcome_is_looked_for_and_not_repeated(
    client: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork
) -> None:
    broker.answers = [OutcomeUnknown("timed out")]
    client.post("/webhook", json=BUY)
    _turn(session_factory, work)
    assert (orders_of(db), jobs_of(db)) == ([("SENDING", "AUTO")], ["PENDING"])
    assert _turn(session_factory, work) == 0  # a call may be under way
    _after(session_factory, LATER)
    assert _turn(session_factory, work) == 1
    assert (orders_of(db), jobs_of(db), len(broker.placed)) == ([("SENT", "AUTO")], ["DONE"], 1)


def test_an_order_that_waited_too_long_is_a_dead_letter_that_a_person_can_repeat(
    logged_in: TestClient,
    db: Session,
    user: User,
    session_factory: Sessions,
    broker: FakeBroker,
    work: OrderWork,
) -> None:
    user.role = "ADMIN"
    db.commit()
    logged_in.post("/webhook", json=BUY)
    db.execute(update(OrderJob).values(expires_at=utc_now() - timedelta(seconds=1)))
    db.commit()
    _turn(session_factory, work)
    assert (orders_of(db), jobs_of(db), broker.placed) == ([("WAITING", "MANUAL")], ["FAILED"], [])
    (letter,) = logged_in.get("/api/jobs/orders/dead").json()
    assert letter["last_error"] == queued.TOO_OLD
    assert [one["dead"] for one in logged_in.get("/api/jobs/").json()] == [1, 0]
    repeat = f"/api/jobs/orders/{letter['id']}/repeat"
    assert [logged_in.post(repeat).status_code for _ in range(2)] == [204, 409]
    _turn(session_factory, work)
    assert (orders_of(db), jobs_of(db), len(broker.placed)) == ([("SENT", "AUTO")], ["DONE"], 1)


def test_a_dead_letter_whose_order_a_person_has_sent_is_not_repeated(
    logged_in: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork
) -> None:
    logged_in.post("/webhook", json=BUY)
    db.execute(update(OrderJob).values(expires_at=utc_now() - timedelta(seconds=1)))
    db.commit()
    _turn(session_factory, work)
    order_id, job_id = db.execute(select(OrderJob.order_id, OrderJob.id)).one()
    assert logged_in.post(f"/api/orders/{order_id}/execute").status_code == 200
    assert logged_in.post(f"/api/jobs/orders/{job_id}/repeat").status_code == 409
    assert (jobs_of(db), len(broker.placed)) == (["FAILED"], 1)


def test_an_order_that_a_person_executes_first_is_sent_once(
    logged_in: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork
) -> None:
    order_id = logged_in.post("/webhook", json=BUY).json()["order_id"]
    assert logged_in.post(f"/api/orders/{order_id}/execute").status_code == 200
    _turn(session_factory, work)
    assert (jobs_of(db), len(broker.placed)) == (["DONE"], 1)
    assert _closings(db) == 1


def test_a_failing_database_is_tried_again_and_then_left_to_a_person(
    client: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    client.post("/webhook", json=BUY)

    def lose(*_arguments: Any, **_named: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(queued, "dispatch_auto", lose)
    for tries in range(5):
        assert _turn(session_factory, work) == 1, tries
        _after(session_factory, LATER)
    assert (orders_of(db), jobs_of(db), broker.placed) == ([("WAITING", "MANUAL")], ["FAILED"], [])


def test_jobs_that_cannot_be_read_are_left_to_a_person(
    client: TestClient, db: Session, session_factory: Sessions, broker: FakeBroker, work: OrderWork
) -> None:
    """Another release may have written them; the others are done meanwhile."""
    payloads = ["", "[]", '{"order_id": 1}', None]
    for number, payload in enumerate(payloads):
        client.post("/webhook", json=BUY | {"order_id": f"L-{number}"})
        if payload is not None:
            last = select(func.max(OrderJob.id)).scalar_subquery()
            db.execute(update(OrderJob).where(OrderJob.id == last).values(payload_json=payload))
            db.commit()
    for _tries in range(5):
        _turn(session_factory, work)
        _after(session_factory, timedelta(minutes=2))
    assert jobs_of(db) == ["FAILED"] * 3 + ["DONE"]
    assert orders_of(db) == [("WAITING", "MANUAL")] * 3 + [("SENT", "AUTO")]
    assert all(
        "was not sent" in note for note in db.scalars(select(Order.error_message).order_by(Order.id).limit(3))
    )


def test_an_order_in_the_queue_is_not_stranded(
    client: TestClient,
    db: Session,
    session_factory: Sessions,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.post("/webhook", json=BUY)
    _after(session_factory, stranded.STRANDED_AFTER * 2)
    assert move_stranded_orders(db) == []
    monkeypatch.setattr(settings, "webhook_dispatch", "inline")  # then nobody works on it
    assert len(move_stranded_orders(db)) == 1
