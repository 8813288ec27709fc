"""The job queue, the per-deployment lock, and a worker that nothing stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.models import (
    StrategyDeployment,
    StrategyDeploymentAction,
    StrategyDeploymentJob,
    StrategyDeploymentLock,
    User,
)
from app.services.deployments import worker as deployment_worker
from app.services.deployments.jobs import (
    acquire_deployment_lock,
    claim_next_job,
    enqueue_job,
    mark_job_done,
    mark_job_error,
    record_action,
    release_deployment_lock,
    requeue_stale_running_jobs,
    sweep_stale_locks,
)
from app.services.deployments.scheduler import enqueue_due_jobs_once, latest_closed_bar_end_ist
from app.services.deployments.worker import DeploymentWorker
from app.services.shared.jobs.claim import WORKER_DIED
from tests.support.pairs import wait_until

NOW = datetime(2026, 1, 5, 5, 0, 30, tzinfo=UTC)  # a Monday, 10:30:30 IST


@pytest.fixture
def deployment(db: Session, user: User) -> StrategyDeployment:
    row = StrategyDeployment(
        owner_id=user.id, name="d", kind="STRATEGY", target_kind="SYMBOL", exchange="NSE", symbol="TCS",
        timeframe="5m", enabled=True, config_json="{}",
    )  # fmt: skip
    db.add(row)
    db.commit()
    return row


@pytest.fixture
def enqueue(db: Session, deployment: StrategyDeployment) -> Callable[..., StrategyDeploymentJob | None]:
    def enqueue(key: str, **values: Any) -> StrategyDeploymentJob | None:
        fixed: dict[str, Any] = {"kind": "WINDOW", "scheduled_for": NOW, "payload": {"é": NOW}}
        return enqueue_job(
            db, deployment_id=deployment.id, owner_id=deployment.owner_id, dedupe_key=key, **(fixed | values)
        )

    return enqueue


def test_enqueue(db: Session, enqueue: Callable[..., Any]) -> None:
    job = enqueue("k1")
    assert (job.status, job.attempts, job.max_attempts) == ("PENDING", 0, 5)
    assert job.payload_json == '{"é":"2026-01-05 05:00:30+00:00"}'
    assert enqueue("k1") is None
    assert enqueue("k2", kind="NONSENSE") is None
    assert enqueue("k3") is not None  # the session still works
    db.commit()
    assert db.scalars(select(StrategyDeploymentJob.dedupe_key)).all() == ["k1", "k3"]


def test_claim_takes_the_oldest_runnable_job(db: Session, enqueue: Callable[..., Any]) -> None:
    enqueue("later", run_after=NOW + timedelta(seconds=1))
    first, second = enqueue("a", run_after=NOW), enqueue("b")
    first.created_at = second.created_at
    db.commit()
    claim = claim_next_job(db, worker_id="w", now=NOW)
    assert claim is not None and (claim.job.id, claim.claimed_at) == (first.id, NOW)
    assert (claim.job.status, claim.job.locked_by, claim.job.locked_at) == ("RUNNING", "w", NOW)
    assert claim.job.attempts == 0
    assert claim_next_job(db, worker_id="w", now=NOW).job.id == second.id
    assert claim_next_job(db, worker_id="w", now=NOW) is None


def test_a_window_comes_before_bars(db: Session, enqueue: Callable[..., Any]) -> None:
    """A window is bound to a time of the day; the bars of a long break are made up for afterwards."""
    bars = [enqueue(f"bar{number}", kind="BAR_CLOSED") for number in range(2)]
    windows = [enqueue(f"window{number}") for number in range(2)]
    db.commit()
    claimed = []
    while (claim := claim_next_job(db, worker_id="w")) is not None:
        claimed.append(claim.job.id)
    assert claimed == [job.id for job in (*windows, *bars)]


def _no_polls(worker: DeploymentWorker, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Only a bell wakes the worker from now on; whether it listened, by wait."""
    for name in ("POLL_S", "LISTENING_POLL_S"):
        monkeypatch.setattr(f"app.services.shared.jobs.wake.{name}", 60.0)
    waits: list[bool] = []
    wait = worker.wake.wait

    def note() -> None:
        waits.append(worker.wake.listening)
        wait()

    monkeypatch.setattr(worker.wake, "wait", note)
    return waits


@pytest.mark.parametrize("served_by", ["postgres"], indirect=True)
def test_jobs_of_a_transaction_are_announced_once(
    db: Session, enqueue: Callable[..., Any], statements: list[str]
) -> None:
    def notices() -> int:
        return sum("pg_notify" in statement for statement in statements)

    with suppress(ZeroDivisionError), db.begin_nested():
        enqueue("taken back")
        raise ZeroDivisionError
    for key in ("a", "b", "c"):
        enqueue(key)
    db.commit()
    assert notices() == 2  # the first one went with its savepoint
    enqueue("d")
    db.commit()
    assert notices() == 3


@pytest.mark.parametrize("served_by", ["postgres"], indirect=True)
def test_a_new_job_wakes_the_worker_of_another_process(
    db: Session, session_factory: Callable[[], Session], enqueue: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nothing rings in this process: PostgreSQL tells of the job when its transaction commits."""
    worker, stop = DeploymentWorker(session_factory, "w"), threading.Event()
    waits = _no_polls(worker, monkeypatch)
    worker.wake.start()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: worker.wake.listening and len(waits) >= 2 and waits[-1], seconds=60)
        enqueue("k")
        db.commit()

        def status() -> str | None:
            db.rollback()
            return db.scalar(select(StrategyDeploymentJob.status))

        wait_until(lambda: status() == "DONE", seconds=60)
    finally:
        stop.set()
        worker.wake.stop()
        thread.join()


def test_simultaneous_claims_give_a_job_to_one_worker(
    db: Session, session_factory: Callable[[], Session], enqueue: Callable[..., Any]
) -> None:
    enqueue("only")
    db.commit()
    barrier = threading.Barrier(4)
    claims: list[str] = []

    def work(name: str) -> None:
        with session_factory() as session:
            barrier.wait()
            if claim_next_job(session, worker_id=name) is not None:
                claims.append(name)
            session.commit()

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claims) == 1


def test_outcomes(db: Session, enqueue: Callable[..., Any]) -> None:
    job = enqueue("k")
    delays = []
    for _ in range(7):
        job.max_attempts = 8
        mark_job_error(db, job=job, error="x" * 5000, now=NOW)
        delays.append((job.run_after - NOW).total_seconds())
    assert delays == [2, 4, 8, 16, 32, 60, 60]
    assert (job.status, len(job.last_error), job.locked_by) == ("PENDING", 4000, None)
    mark_job_error(db, job=job, error=None, now=NOW)
    assert (job.status, job.run_after, job.last_error, job.attempts) == ("FAILED", None, "", 8)
    mark_job_done(db, job=job, now=NOW)
    assert (job.status, job.last_error, job.attempts) == ("DONE", None, 8)


def test_stale_jobs_return_to_the_queue(db: Session, enqueue: Callable[..., Any]) -> None:
    enqueue("k")
    claim_next_job(db, worker_id="w", now=NOW)
    db.commit()
    assert requeue_stale_running_jobs(db, now=NOW + timedelta(seconds=60)) == 0
    assert requeue_stale_running_jobs(db, now=NOW + timedelta(seconds=61)) == 1
    db.commit()
    db.expire_all()
    job = db.scalars(select(StrategyDeploymentJob)).one()
    assert (job.status, job.locked_by, job.run_after) == ("PENDING", None, NOW + timedelta(seconds=61))


def test_a_job_that_kills_its_workers_ends_as_a_dead_letter(db: Session, enqueue: Callable[..., Any]) -> None:
    """Otherwise one worker after the other takes it and dies, for ever."""
    enqueue("k")
    for lives in range(1, 6):
        assert claim_next_job(db, worker_id="w", now=NOW + timedelta(hours=lives)) is not None
        assert requeue_stale_running_jobs(db, now=NOW + timedelta(hours=lives, minutes=2)) == 1
    assert claim_next_job(db, worker_id="w", now=NOW + timedelta(days=1)) is None
    job = db.scalars(select(StrategyDeploymentJob).execution_options(populate_existing=True)).one()
    assert (job.status, job.attempts, job.last_error) == ("FAILED", 5, WORKER_DIED)


def test_locks(db: Session, deployment: StrategyDeployment) -> None:
    def acquire(worker: str, seconds: float) -> bool:
        return acquire_deployment_lock(
            db, deployment_id=deployment.id, worker_id=worker, now=NOW + timedelta(seconds=seconds)
        )

    assert acquire("a", 0)
    assert not acquire("a", 1)  # not even its holder gets it twice
    assert not acquire("b", 30)  # nor anybody at the very end
    assert acquire("b", 30.001)
    release_deployment_lock(db, deployment_id=deployment.id, worker_id="a", now=NOW)
    assert not acquire("a", 31)
    freed = NOW + timedelta(seconds=40)
    release_deployment_lock(db, deployment_id=deployment.id, worker_id="b", now=freed)
    assert not acquire("a", 40)
    assert acquire("a", 40.001)
    late = NOW + timedelta(hours=1)
    assert [sweep_stale_locks(db, now=late) for _ in range(2)] == [1, 1]
    db.commit()
    db.expire_all()
    row = db.scalars(select(StrategyDeploymentLock)).one()
    assert row.locked_by is None and row.locked_until is not None


def test_actions(db: Session, deployment: StrategyDeployment) -> None:
    action = record_action(db, deployment_id=deployment.id, job_id=None, kind="EVALUATION")
    assert action.id is not None and action.payload_json == "{}"


def test_closed_bars() -> None:
    ist = datetime(2026, 1, 5, 10, 30, 4)
    assert latest_closed_bar_end_ist(now_ist=ist, timeframe="15m") == datetime(2026, 1, 5, 10, 15)
    assert latest_closed_bar_end_ist(now_ist=ist, timeframe="15m", tolerance_seconds=4) == datetime(
        2026, 1, 5, 10, 30
    )
    assert latest_closed_bar_end_ist(now_ist=ist, timeframe="1d") is None


def test_scheduler(db: Session, deployment: StrategyDeployment, settings: Settings) -> None:
    def due(minutes: int) -> tuple[int, int]:
        result = enqueue_due_jobs_once(db, settings, now_utc=NOW + timedelta(minutes=minutes))
        db.commit()
        return result.jobs_created, result.jobs_deduped

    assert due(0) == (1, 0)
    assert due(1) == (0, 1)
    assert due(15) == (3, 0)  # made up for what was missed
    job = db.scalars(select(StrategyDeploymentJob).order_by(StrategyDeploymentJob.id)).first()
    assert job is not None
    expected = f"DEP:{deployment.id}:BAR_CLOSED:5m:NSE:TCS:2026-01-05T05:00:00+00:00"
    assert (job.dedupe_key, job.scheduled_for) == (expected, NOW.replace(second=0))
    assert due(60 * 24 * 5) == (0, 0)  # a Saturday


class _Stopping(threading.Event):
    """A stop signal that is set after the loop has paused a number of times."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.turns = turns
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        if len(self.pauses) >= self.turns:
            self.set()
        return self.is_set()


def test_worker_outlives_errors(
    db: Session, session_factory: Callable[[], Session], enqueue: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    enqueue("k")
    db.commit()
    claim = deployment_worker.claim_next_job
    failures = [OperationalError("UPDATE", {}, Exception("database is locked"))] * 2

    def flaky(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return claim(*args, **kwargs)

    monkeypatch.setattr(deployment_worker, "claim_next_job", flaky)
    stop = _Stopping(turns=5)
    worker = DeploymentWorker(session_factory, "w")
    waits: list[bool] = []
    monkeypatch.setattr(worker.wake, "wait", lambda: waits.append(True))
    worker.run(stop)
    assert stop.pauses == [0.0, 2.0, 4.0, 0.0, 0.0]  # two errors, one job, nothing more to do
    assert waits == [True]
    db.expire_all()
    assert db.scalars(select(StrategyDeploymentJob.status)).all() == ["DONE"]
    assert db.scalars(select(StrategyDeploymentAction.kind)).all() == ["JOB_EXECUTED"]


def test_worker_undoes_a_failed_job(
    db: Session, session_factory: Callable[[], Session], enqueue: Callable[..., Any]
) -> None:
    enqueue("k")
    db.commit()

    def handler(session: Session, job: StrategyDeploymentJob) -> None:
        record_action(session, deployment_id=job.deployment_id, job_id=job.id, kind="HALF")
        raise KeyError("bar")

    worker = DeploymentWorker(session_factory, "w", handler)
    assert worker.run_once() is True
    assert worker.run_once() is False  # it waits for its second attempt
    db.expire_all()
    job = db.scalars(select(StrategyDeploymentJob)).one()
    assert (job.status, job.attempts, job.last_error) == ("PENDING", 1, "KeyError: 'bar'")
    assert db.scalars(select(StrategyDeploymentAction)).all() == []
    assert db.scalars(select(StrategyDeploymentLock.locked_by)).all() in ([], [None])  # by database


def test_worker_puts_a_job_back_while_the_deployment_is_busy(
    db: Session, session_factory: Callable[[], Session], deployment: StrategyDeployment,
    enqueue: Callable[..., Any],
) -> None:  # fmt: skip
    enqueue("k")
    acquire_deployment_lock(db, deployment_id=deployment.id, worker_id="other")
    db.commit()
    assert DeploymentWorker(session_factory, "w").run_once() is True
    db.expire_all()
    job = db.scalars(select(StrategyDeploymentJob)).one()
    assert (job.status, job.attempts, job.locked_by) == ("PENDING", 0, None)
    assert job.run_after is not None
