"""The queues of jobs: what waits, what is a dead letter, and repeating one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from app.core.sessions import Db
from app.schemas.types import Answer, PathId
from app.services.deployments.jobs import DEPLOYMENTS
from app.services.orders.sending.jobs import ORDERS, make_ready
from app.services.shared.jobs.claim import announce
from app.services.shared.jobs.dead import State, dead_letters, repeat, state
from app.services.shared.jobs.queue import Queue
from app.services.shared.jobs.wake import ring

router = APIRouter(prefix="/api/jobs", tags=["jobs"])
QueueName = Literal["orders", "deployments"]
_QUEUES: dict[str, Queue] = {queue.name: queue for queue in (ORDERS, DEPLOYMENTS)}


class QueueRead(Answer):
    """How much is in a queue; `oldest_seconds` is the age of the oldest job that could run and does not."""

    queue: str
    pending: int
    running: int
    dead: int
    oldest_seconds: float


class DeadLetter(Answer):
    """A job that failed for good. Of the two ids one is there, by queue."""

    id: int
    order_id: int | None = None
    deployment_id: int | None = None
    attempts: int
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@router.get("/", response_model=list[QueueRead])
def list_queues(db: Db) -> list[State]:
    """Every queue."""
    return [state(db, queue) for queue in _QUEUES.values()]


@router.get("/{queue}/dead", response_model=list[DeadLetter])
def list_dead_letters(
    queue: QueueName, db: Db, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> list[RowMapping]:
    """The dead letters of a queue, newest first."""
    return list(dead_letters(db, _QUEUES[queue], limit))


@router.post("/{queue}/{job_id}/repeat", status_code=204)
def repeat_dead_letter(queue: QueueName, job_id: PathId, db: Db) -> None:
    """Let workers try a dead letter again; an order that is at its broker is not sent again."""
    if not _repeat(db, queue, job_id):
        db.rollback()
        raise HTTPException(409, "The job is no dead letter, or its order does not wait any more.")
    announce(db, _QUEUES[queue])
    db.commit()
    ring(_QUEUES[queue])


def _repeat(db: Session, queue: QueueName, job_id: int) -> bool:
    if queue == "deployments":
        return repeat(db, DEPLOYMENTS, job_id)
    return repeat(db, ORDERS, job_id, expires_at=None) and make_ready(db, job_id)
