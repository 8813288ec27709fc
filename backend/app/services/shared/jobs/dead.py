"""What a person sees of a queue: how much waits, and which jobs are dead letters; these can be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.services.shared.bulk import changed_rows
from app.services.shared.jobs import metrics
from app.services.shared.jobs.claim import due, literal
from app.services.shared.jobs.queue import DEAD, PENDING, RUNNING, Queue


@dataclass(frozen=True)
class State:
    """Counts of a queue; `oldest_seconds` is the age of the oldest job that could run and does not, 0 without one."""

    queue: str
    pending: int
    running: int
    dead: int
    oldest_seconds: float


def state(db: Session, queue: Queue, now: datetime | None = None) -> State:
    """What is in the queue; sets the metrics too."""
    now = now or utc_now()
    job = queue.columns

    def count(status: str) -> int:
        return (
            db.scalar(select(func.count()).select_from(queue.table).where(job.status == literal(status))) or 0
        )

    oldest = db.scalar(select(func.min(func.coalesce(job.run_after, job.created_at))).where(*due(queue, now)))
    age = max(0.0, (now - oldest).total_seconds()) if oldest else 0.0
    found = State(queue.name, count(PENDING), count(RUNNING), count(DEAD), age)
    metrics.OPEN.labels(queue.name).set(found.pending + found.running)
    metrics.DEAD.labels(queue.name).set(found.dead)
    metrics.OLDEST_SECONDS.labels(queue.name).set(found.oldest_seconds)
    return found


def dead_letters(db: Session, queue: Queue, at_most: int = 100) -> Sequence[RowMapping]:
    """The rows of dead letters, newest first."""
    job = queue.columns
    query = select(queue.table).where(job.status == literal(DEAD)).order_by(job.id.desc()).limit(at_most)
    return db.execute(query).mappings().all()


def repeat(db: Session, queue: Queue, job_id: int, **more: Any) -> bool:
    """Make a dead letter a new job; False if it is none. The caller commits."""
    job = queue.columns
    again = {"status": PENDING, "attempts": 0, "run_after": None, "updated_at": utc_now(), **more}
    statement = update(queue.table).where(job.id == job_id, job.status == literal(DEAD))
    return changed_rows(db, statement.values(again)) == 1
