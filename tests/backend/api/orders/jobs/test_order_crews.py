"""The workers of a process: each order is sent once, and a new one wakes them, here and in other processes."""

from __future__ import annotations

import threading

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.db.common.settings import Pooler, ShimSettings
from app.models import Order, User
from app.services.orders.sending.jobs import ORDERS
from app.services.shared.jobs.crew import Crew
from app.services.webhook.door.outside.queued import OrderWork, order_crew
from tests.backend.api.fake_broker import FakeBroker
from tests.backend.api.orders.jobs.job_rows import BUY, Sessions, add_jobs, jobs_of, orders_of
from tests.support.pairs import wait_until

pytestmark = pytest.mark.usefixtures("queueing")


def test_crews_send_every_order_once(
    db: Session, session_factory: Sessions, settings: Settings, user: User, broker: FakeBroker
) -> None:
    add_jobs(db, 40, user_id=user.id)
    crews = [Crew(ORDERS, session_factory, OrderWork(session_factory, settings), 4) for _ in range(2)]
    for crew in crews:
        crew.start()
    try:
        wait_until(lambda: set(jobs_of(db)) == {"DONE"}, seconds=60)
    finally:
        for crew in crews:
            crew.stop()
    assert sorted(order_id for order_id, _variety in broker.placed) == sorted(db.scalars(select(Order.id)))


def _crew_without_polls(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> tuple[Crew, list[bool]]:
    """A crew that only a bell wakes, and of each of its waits whether it listened then."""
    for name in ("POLL_S", "LISTENING_POLL_S"):
        monkeypatch.setattr(f"app.services.shared.jobs.wake.{name}", 60.0)
    crew = order_crew(sessions, settings)
    assert crew is not None
    return crew, _noted_waits(crew, monkeypatch)


def _noted_waits(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    waits: list[bool] = []
    wait = crew.wake.wait

    def note() -> None:
        waits.append(crew.wake.listening)
        wait()

    monkeypatch.setattr(crew.wake, "wait", note)
    return waits


def test_a_new_order_wakes_the_workers_of_the_process(
    client: TestClient, db: Session, session_factory: Sessions, settings: Settings, broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    crew, waits = _crew_without_polls(session_factory, settings, monkeypatch)
    crew.start()
    try:
        wait_until(lambda: waits, seconds=60)
        client.post("/webhook", json=BUY)
        wait_until(lambda: orders_of(db) == [("SENT", "AUTO")], seconds=60)
    finally:
        crew.stop()


@pytest.mark.parametrize("served_by", ["postgres"], indirect=True)
def test_a_new_order_wakes_the_workers_of_another_process(
    db: Session, session_factory: Sessions, settings: Settings, user: User, broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A commit that rings no bell here, as one of another process: PostgreSQL tells of it."""
    crew, waits = _crew_without_polls(session_factory, settings, monkeypatch)
    crew.start()
    try:
        # The listener rings once when it begins; then the workers have looked again and wait for the next one.
        wait_until(lambda: crew.wake.listening and len(waits) >= 2 and waits[-1], seconds=60)
        add_jobs(db, 1, user_id=user.id)
        wait_until(lambda: jobs_of(db) == ["DONE"], seconds=60)
    finally:
        crew.stop()


@pytest.mark.parametrize(
    ("served_by", "pooler"),
    [("sqlite", Pooler.NONE), ("postgres", Pooler.TRANSACTION)],
    indirect=["served_by"],
)
def test_where_nobody_can_listen_the_workers_look_for_new_orders(
    db: Session, session_factory: Sessions, settings: Settings, user: User, broker: FakeBroker, pooler: Pooler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """No bell rings here, and a session that listened behind a pooler would hear nothing."""
    monkeypatch.setattr("app.services.shared.jobs.wake.LISTENING_POLL_S", 60.0)
    monkeypatch.setattr("app.services.shared.jobs.wake.shim_settings", lambda: ShimSettings(pg_pooler=pooler))
    crew = order_crew(session_factory, settings)
    assert crew is not None
    waits = _noted_waits(crew, monkeypatch)
    crew.start()
    try:
        listeners = [thread for thread in threading.enumerate() if thread.name == "wake-orders"]
        assert len(listeners) == (pooler is Pooler.NONE)
        wait_until(lambda: waits, seconds=60)
        add_jobs(db, 1, user_id=user.id)
        wait_until(lambda: jobs_of(db) == ["DONE"], seconds=60)
    finally:
        crew.stop()
    assert not any(waits)


@pytest.mark.parametrize(("dispatch", "workers"), [("inline", 4), ("queue", 0)])
def test_a_process_without_workers(
    session_factory: Sessions,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    dispatch: str,
    workers: int,
) -> None:
    monkeypatch.setattr(settings, "webhook_dispatch", dispatch)
    monkeypatch.setattr(settings, "order_workers", workers)
    assert order_crew(session_factory, settings) is None
