"""One worker at a time per deployment: a row with an expiry. No function here commits."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import StrategyDeploymentLock
from app.services.shared.bulk import changed_rows


def acquire_deployment_lock(
    db: Session, *, deployment_id: int, worker_id: str, now: datetime | None = None, ttl_seconds: float = 30
) -> bool:
    """Take the deployment's lock for `ttl_seconds` if it is free or has expired.

    It is not re-entrant: its holder does not get it a second time either.
    """
    now = now or utc_now()
    lock = StrategyDeploymentLock
    _ensure_row(db, deployment_id)
    free = or_(lock.locked_until.is_(None), lock.locked_until < now)
    until = now + timedelta(seconds=ttl_seconds)
    take = update(lock).where(lock.deployment_id == deployment_id, free)
    return changed_rows(db, take.values(locked_by=worker_id, locked_until=until, updated_at=now)) == 1


def release_deployment_lock(
    db: Session, *, deployment_id: int, worker_id: str, now: datetime | None = None
) -> None:
    """Give the lock back; does nothing when somebody else holds it."""
    now = now or utc_now()
    lock = StrategyDeploymentLock
    mine = update(lock).where(lock.deployment_id == deployment_id, lock.locked_by == worker_id)
    changed_rows(db, mine.values(locked_by=None, locked_until=now, updated_at=now))


def sweep_stale_locks(db: Session, *, now: datetime | None = None) -> int:
    """Clear the holder of expired locks; returns how many rows are expired."""
    now = now or utc_now()
    expired = update(StrategyDeploymentLock).where(StrategyDeploymentLock.locked_until < now)
    return changed_rows(db, expired.values(locked_by=None, updated_at=now))


def _ensure_row(db: Session, deployment_id: int) -> None:
    lock = StrategyDeploymentLock
    if db.scalar(select(lock.id).where(lock.deployment_id == deployment_id)) is not None:
        return
    try:
        with db.begin_nested():
            db.add(lock(deployment_id=deployment_id))
            db.flush()
    except IntegrityError:
        return  # another worker has just made it, or there is no such deployment
