"""A worker killed with SIGKILL at any point between its claim and the outcome: each order is one call at the broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.db.common.failpoints import Failpoint
from app.models import Alert, BrokerConnection, Order, OrderJob, SystemEvent, User
from app.services.brokers.clients import CLIENT_FACTORIES
from app.services.orders.sending.asked import UNKNOWN_AFTER
from app.services.orders.sending.jobs import ORDERS
from app.services.shared.jobs.claim import take_over
from app.services.shared.jobs.crew import Crew
from app.services.webhook.door.outside.queued import OrderWork
from tests.backend.api.orders.jobs.job_rows import Sessions, add_jobs
from tests.backend.api.orders.jobs.order_worker import FileBroker
from tests.support.pairs import wait_until

ROOT = Path(__file__).resolve().parents[5]
POINTS = [point for point in Failpoint if point.startswith("order.") or point.startswith("job.")]  # noqa: PIE810  # each group by its name
ORDERS_IN_ALL = 8


def _killed(url: str, calls: Path, point: Failpoint) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {
        "ST_DATABASE_URL": url,
        "ST_FAILPOINTS": f"{point}=kill",
        "PYTHONPATH": f"{ROOT / 'backend'}{os.pathsep}{ROOT}",
    }
    command = [sys.executable, "-m", "tests.backend.api.orders.jobs.order_worker", str(calls)]
    died = subprocess.run(command, env=environment, timeout=60, capture_output=True, check=False)
    return died.returncode


def _let_claims_end(db: Session) -> None:
    age = UNKNOWN_AFTER + timedelta(seconds=1)
    for job_id, at in db.execute(
        select(OrderJob.id, OrderJob.locked_at).where(OrderJob.status == "RUNNING")
    ).all():
        db.execute(update(OrderJob).where(OrderJob.id == job_id).values(locked_at=at - age))
    for order_id, at in db.execute(select(Order.id, Order.updated_at)).all():
        db.execute(update(Order).where(Order.id == order_id).values(updated_at=at - age))
    db.commit()


@pytest.mark.parametrize("served_by", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("point", POINTS)
def test_killed_at(
    db: Session, session_factory: Sessions, engine: Engine, settings: Settings, user: User, tmp_path: Path,
    point: Failpoint, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    db.add(BrokerConnection(user_id=user.id, broker_name="zerodha", access_token_encrypted="x"))
    db.commit()
    ids = add_jobs(db, ORDERS_IN_ALL, user_id=user.id)
    alert = Alert(user_id=user.id, symbol="NSE:TCS", exchange="NSE", action="BUY", qty=1.0, raw_payload="{}")
    db.add(alert)
    db.flush()
    db.execute(update(Order).values(alert_id=alert.id))
    db.commit()
    broker = FileBroker(tmp_path / "calls")
    url = engine.url.render_as_string(hide_password=False)
    assert _killed(url, tmp_path / "calls", point) == -signal.SIGKILL
    taken = db.scalars(select(OrderJob.id).where(OrderJob.status == "RUNNING")).all()
    assert taken  # what the dead worker had in its hands
    before = len(broker.calls())
    _let_claims_end(db)
    monkeypatch.setitem(CLIENT_FACTORIES, "zerodha", lambda _settings, _connection: broker)
    assert take_over(db, ORDERS) == len(taken)
    db.commit()
    crew = Crew(ORDERS, session_factory, OrderWork(session_factory, settings), 3)
    crew.start()
    try:
        wait_until(lambda: _open_jobs(db) == 0, seconds=60)
    finally:
        crew.stop()
    db.expire_all()
    orders = {order.id: order for order in db.scalars(select(Order).where(Order.id.in_(ids)))}
    called = [order_id for _key, order_id in broker.calls()]
    assert len(called) == len(set(called))
    assert len(called) > before or point in (Failpoint.ORDER_STORED, Failpoint.ORDER_PLACED)
    sent = {order_id for order_id, order in orders.items() if order.status == "SENT"}
    assert sent == set(called)
    # Of the others a broker was to be asked and was not: a person decides.
    rest = [orders[order_id] for order_id in set(ids) - sent]
    assert {(order.status, order.mode) for order in rest} <= {("WAITING", "MANUAL")}
    assert len(rest) <= (len(taken) if point is Failpoint.ORDER_ASKED else len(taken) - 1)
    endings = db.scalars(
        select(SystemEvent.details).where(SystemEvent.message.startswith("Alert ingested"))
    ).all()
    assert len(endings) == len(set(endings)) == len(sent)


def _open_jobs(db: Session) -> int:
    db.rollback()
    return len(db.scalars(select(OrderJob.id).where(OrderJob.status.in_(("PENDING", "RUNNING")))).all())
