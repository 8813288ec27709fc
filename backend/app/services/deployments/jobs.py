"""The queue of deployment jobs, kept in the database. No function here commits: the caller does.

Claims are those of `app.services.shared.jobs`: of two workers one gets a job, on either database, and the job
returns to the queue when its worker has not finished within a time limit. Workers are told of a new job when the
transaction that made it commits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Table, literal_column
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import StrategyDeploymentAction, StrategyDeploymentJob
from app.services.deployments.locks import (
    acquire_deployment_lock,
    release_deployment_lock,
    sweep_stale_locks,
)
from app.services.shared.jobs.claim import MAX_ERROR_CHARS, announce, claim, pause_after, take_over
from app.services.shared.jobs.queue import DEAD, DONE, PENDING, Queue

__all__ = [
    "JobClaim",
    "acquire_deployment_lock",
    "claim_next_job",
    "enqueue_job",
    "mark_job_done",
    "mark_job_error",
    "record_action",
    "release_deployment_lock",
    "requeue_stale_running_jobs",
    "sweep_stale_locks",
]

DEFAULT_MAX_ATTEMPTS: Final = 5
_TABLE = StrategyDeploymentJob.__table__
assert isinstance(_TABLE, Table)
AT_ITS_TIME, WHEN_CLOSED = 0, 10
DEPLOYMENTS: Final = Queue(
    name="deployments",
    table=_TABLE,
    turn=("created_at", "id"),
    lease=timedelta(seconds=60),
    # A window is bound to a time of the day, and must not wait behind bars that are made up for.
    priorities={
        AT_ITS_TIME: _TABLE.c.kind == literal_column("'WINDOW'"),
        WHEN_CLOSED: _TABLE.c.kind != literal_column("'WINDOW'"),
    },
)


@dataclass(frozen=True)
class JobClaim:
    """A job that belongs to the worker now, and since when."""

    job: StrategyDeploymentJob
    claimed_at: datetime


def compact_json(payload: Mapping[str, Any] | None) -> str:
    """JSON without blanks; non-ASCII unescaped, values of other types as their text."""
    return json.dumps(payload or {}, separators=(",", ":"), ensure_ascii=False, default=str)


def enqueue_job(
    db: Session,
    *,
    deployment_id: int,
    owner_id: int,
    kind: str,
    dedupe_key: str,
    scheduled_for: datetime | None,
    payload: Mapping[str, Any],
    run_after: datetime | None = None,
    max_attempts: int = DEFAULT_MAX_ATTEMPTS,
) -> StrategyDeploymentJob | None:
    """Insert a PENDING job, announced at the commit; None when its key exists already or a constraint refuses it."""
    job = StrategyDeploymentJob(
        deployment_id=deployment_id,
        owner_id=owner_id,
        kind=kind,
        status=PENDING,
        dedupe_key=dedupe_key,
        scheduled_for=scheduled_for,
        payload_json=compact_json(payload),
        run_after=run_after,
        attempts=0,
        max_attempts=max_attempts,
    )
    try:
        with db.begin_nested():
            db.add(job)
            db.flush()
    except IntegrityError:
        return None
    announce(db, DEPLOYMENTS)
    return job


def claim_next_job(db: Session, *, worker_id: str, now: datetime | None = None) -> JobClaim | None:
    """Set the first runnable job to RUNNING for the worker; None when there is none that nobody else takes.

    Windows come before bars, and within each the oldest is first.
    """
    now = now or utc_now()
    ids = claim(db, DEPLOYMENTS, worker_id, 1, now=now)
    if not ids:
        return None
    return JobClaim(db.get_one(StrategyDeploymentJob, ids[0], populate_existing=True), now)


def mark_job_done(db: Session, *, job: StrategyDeploymentJob, now: datetime | None = None) -> None:
    """The job is finished; how often it was tried stays on record."""
    job.status = DONE
    job.locked_by = job.locked_at = job.run_after = job.last_error = None
    job.updated_at = now or utc_now()
    db.flush()


def mark_job_error(
    db: Session,
    *,
    job: StrategyDeploymentJob,
    error: str | None,
    now: datetime | None = None,
    base_backoff_seconds: float = 2.0,
    max_backoff_seconds: float = 60.0,
) -> None:
    """Count a failed attempt: back to PENDING after a growing delay, or FAILED after the last one."""
    now = now or utc_now()
    job.attempts = (job.attempts or 0) + 1
    job.last_error = (error or "")[:MAX_ERROR_CHARS]
    job.locked_by = job.locked_at = None
    if job.attempts >= (job.max_attempts or DEFAULT_MAX_ATTEMPTS):
        job.status, job.run_after = DEAD, None
    else:
        pause = pause_after(job.attempts, base_backoff_seconds, max_backoff_seconds)
        job.status, job.run_after = PENDING, now + pause
    job.updated_at = now
    db.flush()


def requeue_stale_running_jobs(
    db: Session, *, now: datetime | None = None, running_ttl_seconds: float = 60
) -> int:
    """Return jobs to the queue whose worker has not finished in time; returns how many.

    That counts as a failed attempt: after the last one the job is FAILED, because it may kill whoever takes it.
    """
    queue = replace(DEPLOYMENTS, lease=timedelta(seconds=running_ttl_seconds))
    return take_over(db, queue, now)


def record_action(
    db: Session,
    *,
    deployment_id: int,
    job_id: int | None,
    kind: str,
    payload: Mapping[str, Any] | None = None,
) -> StrategyDeploymentAction:
    """Note what a deployment did; the row is flushed, so that it has its id."""
    action = StrategyDeploymentAction(
        deployment_id=deployment_id, job_id=job_id, kind=kind, payload_json=compact_json(payload)
    )
    db.add(action)
    db.flush()
    return action
