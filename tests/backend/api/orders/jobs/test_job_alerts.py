"""The metrics behind the alerts of the queues move when what they are for happens."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import REGISTRY
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import OrderJob
from app.services.orders.sending.jobs import ORDERS
from app.services.shared.jobs.claim import claim, fail
from app.services.shared.jobs.crew import Crew
from tests.backend.api.orders.jobs.job_rows import Sessions, add_jobs
from tests.support.pairs import wait_until


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"queue": "orders", **labels}) or 0.0


def test_a_crew_measures_its_queue(db: Session, session_factory: Sessions) -> None:
    add_jobs(db, 3)
    (dead,) = claim(db, ORDERS, "w", 1)
    fail(db, ORDERS, dead, "w", "no", for_good=True)
    (lost,) = claim(db, ORDERS, "w", 1)
    long_ago = utc_now() - timedelta(minutes=5)
    db.execute(update(OrderJob).where(OrderJob.id == lost).values(locked_at=long_ago, created_at=long_ago))
    db.execute(update(OrderJob).where(OrderJob.status == "PENDING").values(created_at=long_ago))
    db.commit()
    taken_over = _value("st_jobs_taken_over_total")
    broken = _value("st_jobs_ended_total", outcome="broken")

    def work(_job_id: int, _worker: str) -> None:
        raise RuntimeError("a fault of ours")

    crew = Crew(ORDERS, session_factory, work, 1)
    crew.start()
    try:
        wait_until(lambda: _value("st_jobs_ended_total", outcome="broken") == broken + 2, seconds=60)
    finally:
        crew.stop()
    assert _value("st_jobs_taken_over_total") == taken_over + 1
    assert (_value("st_jobs_dead"), _value("st_jobs_open")) == (1, 2)
    assert _value("st_jobs_oldest_seconds") >= 299
