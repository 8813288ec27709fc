"""The audit trail that operators read in the application."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import SystemEvent
from app.services.shared.bulk import Row, insert_many

_EVENTS = SystemEvent.__table__


def add_system_event(
    db: Session,
    *,
    level: str,
    category: str,
    message: str,
    correlation_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> SystemEvent:
    """Put an event into the caller's transaction; it is stored when the caller commits."""
    event = SystemEvent(**event_row(level, category, message, correlation_id, details))
    db.add(event)
    return event


def insert_events(db: Session, rows: Sequence[Row]) -> None:
    """Put rows of `event_row` into the caller's transaction at once, in their order, without an object for each."""
    now = utc_now()
    insert_many(db.connection(), _EVENTS, [{**row, "created_at": now} for row in rows])


def event_row(
    level: str, category: str, message: str, correlation_id: str | None, details: Mapping[str, Any] | None
) -> Row:
    """The values of an event's row, but for id and time."""
    return {
        "level": level.upper(),
        "category": category,
        "message": message,
        "details": json.dumps(details, ensure_ascii=False, default=str) if details else None,
        "correlation_id": correlation_id,
    }


def record_system_event(
    db: Session,
    *,
    level: str,
    category: str,
    message: str,
    correlation_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> SystemEvent:
    """Store an event and commit the session, with everything else that is pending in it."""
    event = add_system_event(
        db, level=level, category=category, message=message, correlation_id=correlation_id, details=details
    )
    db.commit()
    return event
