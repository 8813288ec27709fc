"""The audit trail: read it, and clear what is old."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import delete, func, select

from app.core.sessions import Db, ListingDb
from app.core.time_utils import utc_now
from app.models import SystemEvent
from app.schemas.types import INT64_MAX, Answer
from app.services.shared.bulk import changed_rows
from app.services.shared.documents import number_in

router = APIRouter(prefix="/api/system-events", tags=["system events"])
_LONGEST_DAYS = 365 * 1000  # beyond any stored row, and inside the calendar


class SystemEventRead(Answer):
    """One event; details are JSON text."""

    id: int
    level: str
    category: str
    message: str
    details: str | None
    correlation_id: str | None
    created_at: datetime


class Cleanup(BaseModel):
    """Delete events older than `max_days` days; 0 deletes nothing."""

    max_days: Annotated[int, Field(ge=0, le=INT64_MAX)] = 7
    dry_run: bool = False


class CleanupResult(BaseModel):
    """Rows deleted (or, in a dry run, that would be) and rows there afterwards."""

    deleted: int
    remaining: int


@router.get("/", response_model=list[SystemEventRead])
def list_system_events(
    db: ListingDb,
    level: str | None = None,
    category: str | None = None,
    order_id: Annotated[int | None, Query(ge=1, le=INT64_MAX)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[SystemEvent]:
    """Events, newest first; with `order_id` those whose details name that order."""
    query = select(SystemEvent).order_by(SystemEvent.created_at.desc(), SystemEvent.id.desc())
    if level is not None:
        query = query.where(SystemEvent.level == level.upper())
    if category is not None:
        query = query.where(SystemEvent.category == category)
    if order_id is not None:
        query = query.where(number_in(db, SystemEvent.details, "order_id") == str(order_id))
    return list(db.scalars(query.limit(limit)))


@router.post("/cleanup", response_model=CleanupResult)
def clean_up(body: Cleanup, db: Db) -> CleanupResult:
    """Delete, or only count, what is older than the given number of days."""
    deleted = 0
    if body.max_days > 0:
        old = SystemEvent.created_at < utc_now() - timedelta(days=min(body.max_days, _LONGEST_DAYS))
        deleted = db.scalar(select(func.count()).select_from(SystemEvent).where(old)) or 0
        if deleted and not body.dry_run:
            changed_rows(db, delete(SystemEvent).where(old))
            db.commit()
    remaining = db.scalar(select(func.count()).select_from(SystemEvent)) or 0
    return CleanupResult(deleted=deleted, remaining=remaining)
