"""One worker at a time per deployment. No function here commits.

On SQLite it is a row with an expiry, taken in a transaction of its own, because a job must not hold the write lock
while it works. On PostgreSQL it is an advisory lock of the job's own transaction: it costs no write, ends with the
transaction whatever becomes of the worker, and works through a transaction pooler. A row that an earlier release
has taken there still counts.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import StrategyDeploymentLock
from app.services.shared.bulk import changed_rows

SECTION: Final = 0x53540001  # the first half of the advisory locks' keys


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


def takes_row(db: Session) -> bool:
    """Whether a section of this session's database needs the row."""
    return db.get_bind().dialect.name == "sqlite"


def enter_section(db: Session, *, deployment_id: int, worker_id: str, now: datetime | None = None) -> bool:
    """Whether the worker is alone with the deployment until this transaction ends.

    The database may have changed since the row was taken, or was not needed: a switch of the primary lies between.
    """
    now = now or utc_now()
    lock = StrategyDeploymentLock
    held = lock.deployment_id == deployment_id, lock.locked_until >= now
    if takes_row(db):
        mine = db.scalar(select(lock.id).where(*held, lock.locked_by == worker_id)) is not None
        return mine or acquire_deployment_lock(db, deployment_id=deployment_id, worker_id=worker_id, now=now)
    key = select(func.pg_try_advisory_xact_lock(SECTION, deployment_id % 2**31))
    if not db.scalar(key):
        return False
    return db.scalar(select(lock.id).where(*held, lock.locked_by != worker_id)) is None


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
