"""The queue of deployment jobs, kept in the database. No function here commits: the caller does.

A job is claimed by a conditional update, so of two workers one wins on either database, and it is
returned to the queue when its worker has not finished within a time limit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import StrategyDeploymentAction, StrategyDeploymentJob
from app.services.deployments.locks import (
    acquire_deployment_lock,
    release_deployment_lock,
    sweep_stale_locks,
)
from app.services.shared.bulk import changed_rows

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
MAX_ERROR_CHARS: Final = 4000


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
    """Insert a PENDING job; None when its key exists already or a constraint refuses it."""
    job = StrategyDeploymentJob(
        deployment_id=deployment_id,
        owner_id=owner_id,
        kind=kind,
        status="PENDING",
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
    return job


def claim_next_job(db: Session, *, worker_id: str, now: datetime | None = None) -> JobClaim | None:
    """Set the oldest runnable job to RUNNING for the worker; None when there is none.

    When another worker was faster, the session is rolled back and None returned.
    """
    now = now or utc_now()
    job_table = StrategyDeploymentJob
    due = or_(job_table.run_after.is_(None), job_table.run_after <= now)
    oldest = select(job_table).where(job_table.status == "PENDING", due)
    job = db.scalars(oldest.order_by(job_table.created_at, job_table.id).limit(1)).first()
    if job is None:
        return None
    take = (
        update(job_table)
        .where(job_table.id == job.id, job_table.status == "PENDING")
        .values(status="RUNNING", locked_by=worker_id, locked_at=now, updated_at=now)
    )
    if changed_rows(db, take) == 0:
        db.rollback()
        return None
    db.refresh(job)
    return JobClaim(job, now)


def mark_job_done(db: Session, *, job: StrategyDeploymentJob, now: datetime | None = None) -> None:
    """The job is finished; how often it was tried stays on record."""
    job.status = "DONE"
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
        job.status, job.run_after = "FAILED", None
    else:
        # The exponent is bounded: past 2**30 the delay is the maximum anyway.
        delay = min(base_backoff_seconds * 2 ** min(job.attempts - 1, 30), max_backoff_seconds)
        job.status, job.run_after = "PENDING", now + timedelta(seconds=delay)
    job.updated_at = now
    db.flush()


def requeue_stale_running_jobs(
    db: Session, *, now: datetime | None = None, running_ttl_seconds: float = 60
) -> int:
    """Return jobs to the queue whose worker has not finished in time; returns how many."""
    now = now or utc_now()
    job = StrategyDeploymentJob
    stale = update(job).where(
        job.status == "RUNNING", job.locked_at < now - timedelta(seconds=running_ttl_seconds)
    )
    released = {"status": "PENDING", "locked_by": None, "locked_at": None}
    return changed_rows(db, stale.values(**released, run_after=now, updated_at=now))


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
