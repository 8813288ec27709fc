"""The queue of orders on a pair: its claims are ordinary writes, so they move with the primary and stop at the fence."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.db.common.errors import Fenced
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.switch.coordinator import Moved
from app.models import BrokerConnection, Order, OrderJob, User
from app.services.brokers.clients import CLIENT_FACTORIES
from app.services.orders.sending.jobs import ORDERS
from app.services.shared.jobs.claim import claim
from app.services.shared.jobs.crew import Crew
from app.services.webhook.door.outside.queued import OrderWork
from tests.backend.api.orders.jobs.job_rows import add_jobs
from tests.backend.differential.backends import stored
from tests.backend.differential.conftest import Dual
from tests.support.pairs import wait_until

DIRECTIONS = pytest.mark.parametrize("primary", list(Side), ids=["from_sqlite", "from_postgres"])
ORDERS_IN_ALL = 60


class SlowBroker:
    """Takes every order, and lets the test do something in the middle of them."""

    account_id = "S1"

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()
        self.some_placed = threading.Event()
        self._counting = threading.Lock()

    def place_order(self, order: Order, **_named: Any) -> str:
        with self._counting:
            self.calls[order.id] += 1
            if len(self.calls) >= ORDERS_IN_ALL // 10:
                self.some_placed.set()
        return f"S{order.id}"


@pytest.fixture
def broker(on_both: Dual, monkeypatch: pytest.MonkeyPatch) -> SlowBroker:
    """A connected broker of the user who is seeded."""
    slow = SlowBroker()
    monkeypatch.setitem(CLIENT_FACTORIES, "zerodha", lambda _settings, _connection: slow)
    with SessionLocal() as db:
        user_id = db.scalars(select(User.id).order_by(User.id)).first()
        db.add(BrokerConnection(user_id=user_id, broker_name="zerodha", access_token_encrypted="x"))
        db.commit()
    return slow


def _start_on(dual: Dual, primary: Side) -> None:
    if dual.runtime.primary() is not primary:
        assert isinstance(dual.pair.move(primary), Moved)


@DIRECTIONS
def test_every_order_is_sent_once_across_a_switch(
    on_both: Dual, settings: Settings, broker: SlowBroker, primary: Side
) -> None:
    _start_on(on_both, primary)
    with SessionLocal() as db:
        ids = add_jobs(db, ORDERS_IN_ALL)
    crews = [Crew(ORDERS, SessionLocal, OrderWork(SessionLocal, settings), 2) for _ in range(2)]
    for crew in crews:
        crew.start()
    try:
        assert broker.some_placed.wait(60)
        assert isinstance(on_both.pair.move(primary.other), Moved)
        wait_until(lambda: _open_jobs() == 0, seconds=60)
    finally:
        for crew in crews:
            crew.stop()
    assert broker.calls == Counter(ids)
    on_both.catch_up()
    sides = [on_both.engine(side) for side in Side]
    wait_until(
        lambda: stored(sides[0], ("orders", "order_jobs")) == stored(sides[1], ("orders", "order_jobs"))
    )
    with SessionLocal() as db:
        assert set(db.scalars(select(OrderJob.status))) == {"DONE"}


@DIRECTIONS
def test_a_worker_that_never_heard_of_the_switch_claims_and_asks_nothing(
    on_both: Dual, settings: Settings, broker: SlowBroker, primary: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has an engine of its own, as a process from before the move, and a job in its hands."""
    _start_on(on_both, primary)
    with SessionLocal() as db:
        add_jobs(db, 2)
    stale = on_both.engine(primary)

    def old_sessions() -> Session:
        return Session(stale, autoflush=False, expire_on_commit=False)

    with old_sessions() as db:
        (job_id,) = claim(db, ORDERS, "stale", 1)
        db.commit()
    on_both.catch_up()
    assert isinstance(on_both.pair.move(primary.other), Moved)
    with pytest.raises(Fenced):  # not even its failure can be stored
        OrderWork(old_sessions, settings)(job_id, "stale")
    with old_sessions() as db, pytest.raises(Fenced, match=f"the primary is {primary.other}"):
        claim(db, ORDERS, "stale", 1)
    assert broker.calls == {}


def _open_jobs() -> int:
    with SessionLocal() as db:
        return len(db.scalars(select(OrderJob.id).where(OrderJob.status.in_(("PENDING", "RUNNING")))).all())
