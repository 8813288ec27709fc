"""The moves of a job. Each is one update that names the state it expects; no function here commits.

PostgreSQL: a claim locks the first open rows and skips those that another worker is locking. SQLite: it looks first,
so that an empty queue costs no write, and then takes the write lock and looks again: nobody comes between. The status is written into
the statement and is no parameter, because only then do both use the partial index: finished jobs cost nothing.

A fence stops a claim like any write. A worker that lost its claim, because its lease is over or the primary has
moved without it, is told so by `renew` and `finish`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CursorResult,
    Integer,
    Select,
    Update,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.db.session.routed import begin_write
from app.services.shared.jobs.queue import DEAD, DONE, PENDING, RUNNING, Floors, Queue

MAX_ERROR_CHARS: Final = 4000
FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 60.0
WORKER_DIED: Final = "The worker did not come back."
_PATIENCE_S: Final = 5.0
_FREE: Final[dict[str, Any]] = {"locked_by": None, "locked_at": None}


def literal(status: str) -> ColumnElement[str]:
    """A state as it is written into a condition, so that the partial indexes are found."""
    return literal_column(f"'{status}'")


def claim(
    db: Session,
    queue: Queue,
    worker_id: str,
    at_most: int,
    *,
    now: datetime | None = None,
    floors: Floors | None = None,
) -> list[int]:
    """Set the first jobs that are due to RUNNING for the worker; their ids, in their turn."""
    now = now or utc_now()
    if db.get_bind().dialect.name == "sqlite" and not _is_anything_due(db, queue, now):
        return []
    begin_write(db, _PATIENCE_S)  # from here on it is settled which side this is
    known = floors.for_claim() if floors else {}
    taken: list[int] = []
    for priority in tuple(queue.priorities) or (None,):
        floor = known.get(priority) if priority is not None else None
        found = _claim_of(db, queue, worker_id, at_most - len(taken), now, priority, floor)
        if floors and priority is not None:
            floors.raise_to(priority, found)
        taken += found
        if len(taken) == at_most:
            return taken
    if floors and not taken:
        floors.forget()
    return taken


def _is_anything_due(db: Session, queue: Queue, now: datetime) -> bool:
    return db.scalar(select(queue.columns.id).where(*due(queue, now)).limit(1)) is not None


def due(queue: Queue, now: datetime | BindParameter[datetime]) -> list[ColumnElement[bool]]:
    """The condition of a job that could run."""
    job = queue.columns
    return [job.status == literal(PENDING), or_(job.run_after.is_(None), job.run_after <= now)]


def _claim_of(
    db: Session,
    queue: Queue,
    worker_id: str,
    at_most: int,
    now: datetime,
    priority: int | None,
    floor: int | None,
) -> list[int]:
    wanted: dict[str, Any] = {"p_now": now, "p_at_most": at_most}
    if floor is not None:
        wanted["p_floor"] = floor
    mark = {"p_now": now, "p_worker": worker_id}
    if db.connection().dialect.name == "postgresql":
        return sorted(db.scalars(_take_first(queue, priority, floor is not None), wanted | mark))
    first = db.scalars(_first(queue, priority, floor is not None), wanted).all()
    return sorted(db.scalars(_take(queue).where(queue.columns.id.in_(first)), mark))


# Statements are built once: that costs more than the driver does.
@lru_cache(maxsize=64)
def _first(queue: Queue, priority: int | None, has_floor: bool) -> Select[tuple[int]]:
    """The ids of the first jobs that are due."""
    job = queue.columns
    wanted = due(queue, bindparam("p_now"))
    if priority is not None:
        wanted.append(queue.priorities[priority])
    if has_floor:
        wanted.append(job.id >= bindparam("p_floor"))
    turn = [job[name] for name in queue.turn]
    return select(job.id).where(*wanted).order_by(*turn).limit(bindparam("p_at_most", type_=Integer))


def _take(queue: Queue) -> Any:
    now = bindparam("p_now")
    values = {"status": RUNNING, "locked_by": bindparam("p_worker"), "locked_at": now, "updated_at": now}
    return update(queue.table).values(values).returning(queue.columns.id)


@lru_cache(maxsize=64)
def _take_first(queue: Queue, priority: int | None, has_floor: bool) -> Any:
    """One statement for PostgreSQL, which passes over what other workers are locking."""
    chosen = _first(queue, priority, has_floor).with_for_update(skip_locked=True).cte("chosen")
    # As an array: joined, a few rows of a large table may be looked for by reading all of it.
    ids = func.array(select(chosen.c.id).scalar_subquery())
    return _take(queue).where(queue.columns.id == func.any(ids))


def renew(db: Session, queue: Queue, job_id: int, worker_id: str, now: datetime | None = None) -> bool:
    """Let the lease begin anew; False when the job is not the worker's any more."""
    now = now or utc_now()
    return _move(db, queue, job_id, worker_id, locked_at=now, updated_at=now)


def finish(db: Session, queue: Queue, job_id: int, worker_id: str, note: str | None = None) -> bool:
    """The job is done; False when it is not the worker's any more."""
    done = {"status": DONE, "run_after": None, "last_error": note, "updated_at": utc_now(), **_FREE}
    return _move(db, queue, job_id, worker_id, **done)


def put_back(
    db: Session, queue: Queue, job_id: int, worker_id: str, run_after: datetime, note: str | None = None
) -> bool:
    """Leave the job to a later time without counting an attempt; False when it is not the worker's any more."""
    later = {
        "status": PENDING,
        "run_after": run_after,
        "last_error": note,
        "updated_at": utc_now(),
        **_FREE,
    }
    return _move(db, queue, job_id, worker_id, **later)


def fail(
    db: Session, queue: Queue, job_id: int, worker_id: str, error: str, *, for_good: bool = False
) -> bool | None:
    """Count a failed attempt; True if the job is a dead letter now, None when it is not the worker's any more."""
    job, now = queue.columns, utc_now()
    mine = {"p_job": job_id, "p_worker": worker_id}
    tried = db.execute(select(job.attempts, job.max_attempts).where(*_mine(queue)), mine).one_or_none()
    if tried is None:
        return None
    attempts = tried[0] + 1
    dead = for_good or attempts >= tried[1]
    values: dict[str, Any] = {
        "attempts": attempts,
        "last_error": error[:MAX_ERROR_CHARS],
        "updated_at": now,
        **_FREE,
    }
    values |= (
        {"status": DEAD, "run_after": None}
        if dead
        else {"status": PENDING, "run_after": now + pause_after(attempts)}
    )
    return dead if _move(db, queue, job_id, worker_id, **values) else None


def pause_after(
    attempts: int, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S
) -> timedelta:
    """How long a job rests after so many failed attempts: twice as long each time, up to a limit."""
    # The exponent is bounded: past 2**30 the pause is the longest anyway.
    return timedelta(seconds=min(first_s * 2 ** min(attempts - 1, 30), longest_s))


def take_over(db: Session, queue: Queue, now: datetime | None = None) -> int:
    """Put back the jobs whose lease is over, as the worker is dead or stands still; returns how many.

    Each has failed once more, so that a job that kills its workers ends as a dead letter. A claim from further ahead
    than a lease is over too: the clock was set back, and would not reach it for as long as that.
    """
    now = now or utc_now()
    job = queue.columns
    ended = or_(job.locked_at < now - queue.lease, job.locked_at > now + queue.lease)
    over = (job.status == literal(RUNNING), ended)
    if db.scalar(select(job.id).where(*over).limit(1)) is None:
        return 0
    again = {"status": PENDING, "run_after": now, "updated_at": now, **_FREE}
    attempts = job.attempts + 1
    dead = {
        "status": DEAD,
        "run_after": None,
        "attempts": attempts,
        "last_error": WORKER_DIED,
        "updated_at": now,
    }
    gone = _change(db, queue, *over, attempts >= job.max_attempts, **dead, **_FREE)
    return gone + _change(db, queue, *over, **again, attempts=attempts)


def announce(db: Session, queue: Queue) -> None:
    """Tell workers of other processes about new jobs, when this transaction commits; PostgreSQL only.

    Many jobs of a transaction are one notice, and one statement. A savepoint that is taken back takes its notice with it.
    """
    transaction = db.get_nested_transaction() or db.get_transaction()
    if db.get_bind().dialect.name != "postgresql" or db.info.get(queue.channel) is transaction is not None:
        return
    db.execute(select(func.pg_notify(queue.channel, "")))
    db.info[queue.channel] = db.get_nested_transaction() or db.get_transaction()


def _mine(queue: Queue) -> Sequence[ColumnElement[bool]]:
    job = queue.columns
    return (
        job.id == bindparam("p_job"),
        job.status == literal(RUNNING),
        job.locked_by == bindparam("p_worker"),
    )


@lru_cache(maxsize=64)
def _moved(queue: Queue, names: tuple[str, ...]) -> Update:
    """A job of a worker gets new values in these columns."""
    values = {name: bindparam(f"p_new_{name}") for name in names}
    return update(queue.table).where(*_mine(queue)).values(values)


def _move(db: Session, queue: Queue, job_id: int, worker_id: str, **values: Any) -> bool:
    """Write into a job; False when it is not the worker's any more."""
    given = {f"p_new_{name}": value for name, value in values.items()}
    moved = db.execute(_moved(queue, tuple(values)), given | {"p_job": job_id, "p_worker": worker_id})
    return cast("CursorResult[Any]", moved).rowcount == 1


def _change(db: Session, queue: Queue, *where: ColumnElement[bool], **values: Any) -> int:
    statement = update(queue.table).where(*where).values(values)
    return cast("CursorResult[Any]", db.execute(statement)).rowcount
