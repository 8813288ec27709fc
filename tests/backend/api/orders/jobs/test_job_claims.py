"""Claims of jobs: one worker gets each, in turn, and a worker that died or stood still loses its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text, update
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import Order, OrderJob
from app.services.orders.sending.jobs import ORDERS
from app.services.shared.jobs.claim import (
    WORKER_DIED,
    claim,
    fail,
    finish,
    pause_after,
    put_back,
    renew,
    take_over,
)
from app.services.shared.jobs.dead import dead_letters, repeat, state
from app.services.shared.jobs.queue import Floors
from tests.backend.api.orders.jobs.job_rows import Sessions, add_jobs, drain


@pytest.mark.parametrize(
    ("jobs", "batch"), [(240, 7), pytest.param(10_000, 20, marks=pytest.mark.long)], ids=["240", "10000"]
)
def test_eight_workers_do_each_job_once(
    session_factory: Sessions, db: Session, jobs: int, batch: int
) -> None:
    add_jobs(db, jobs)
    done = drain(session_factory, 8, batch)
    db.rollback()
    assert sorted(done) == list(db.scalars(select(OrderJob.id).order_by(OrderJob.id)))
    assert set(db.scalars(select(OrderJob.status))) == {"DONE"}


def test_exits_come_first_then_the_older_ones(db: Session) -> None:
    add_jobs(db, 3)
    add_jobs(db, 2, exits=2)
    floors = Floors()
    taken = [claim(db, ORDERS, "w", 2, floors=floors) for _ in range(4)]
    db.commit()
    assert [len(part) for part in taken] == [2, 2, 1, 0]
    flags = dict(
        db.execute(select(OrderJob.id, Order.is_exit).join(Order, Order.id == OrderJob.order_id)).all()
    )
    turn = [id for part in taken for id in part]
    assert [flags[id] for id in turn] == [True, True, False, False, False]
    assert turn[2:] == sorted(turn[2:])


def test_an_exit_that_comes_while_entries_wait_is_next(db: Session) -> None:
    add_jobs(db, 4)
    floors = Floors()
    claim(db, ORDERS, "w", 2, floors=floors)
    exit_order = add_jobs(db, 1, exits=1)[0]
    first = claim(db, ORDERS, "w", 1, floors=floors)[0]
    assert db.get_one(OrderJob, first).order_id == exit_order


def test_a_job_that_comes_back_below_the_floor_is_found(db: Session) -> None:
    add_jobs(db, 5)
    floors = Floors()
    first, *_rest = claim(db, ORDERS, "w", 2, floors=floors)
    claim(db, ORDERS, "w", 3, floors=floors)
    put_back(db, ORDERS, first, "w", utc_now() - timedelta(seconds=1))
    assert claim(db, ORDERS, "w", 5, floors=floors) in ([], [first])
    assert claim(db, ORDERS, "w", 5, floors=floors) in ([], [first])
    db.commit()
    assert db.get_one(OrderJob, first, populate_existing=True).status == "RUNNING"


def test_a_job_rests_until_its_time(db: Session) -> None:
    add_jobs(db, 1)
    now = utc_now()
    (job,) = claim(db, ORDERS, "w", 1)
    assert fail(db, ORDERS, job, "w", "no") is False
    assert claim(db, ORDERS, "w", 1) == []
    assert claim(db, ORDERS, "w", 1, now=now + timedelta(seconds=3)) == [job]
    assert [pause_after(tries).total_seconds() for tries in (1, 2, 3, 6, 99)] == [2, 4, 8, 60, 60]


def test_after_the_last_attempt_it_is_a_dead_letter_that_can_be_repeated(db: Session) -> None:
    add_jobs(db, 1)
    ends = []
    for tries in range(5):
        (job,) = claim(db, ORDERS, "w", 1, now=utc_now() + timedelta(hours=1))
        ends.append(fail(db, ORDERS, job, "w", f"no {tries}"))
    assert ends == [False] * 4 + [True]
    assert [(row["id"], row["last_error"]) for row in dead_letters(db, ORDERS)] == [(job, "no 4")]
    assert (state(db, ORDERS).dead, claim(db, ORDERS, "w", 1, now=utc_now() + timedelta(days=1))) == (1, [])
    assert repeat(db, ORDERS, job)
    assert not repeat(db, ORDERS, job)
    assert claim(db, ORDERS, "w", 1) == [job]


def test_a_worker_that_lost_its_claim_changes_nothing(db: Session) -> None:
    add_jobs(db, 1)
    (job,) = claim(db, ORDERS, "slow", 1)
    later = utc_now() + ORDERS.lease + timedelta(seconds=1)
    assert take_over(db, ORDERS, later) == 1
    assert claim(db, ORDERS, "next", 1, now=later) == [job]
    assert not renew(db, ORDERS, job, "slow")
    assert not finish(db, ORDERS, job, "slow")
    assert not put_back(db, ORDERS, job, "slow", later)
    assert fail(db, ORDERS, job, "slow", "no") is None
    assert finish(db, ORDERS, job, "next")
    assert db.get_one(OrderJob, job, populate_existing=True).attempts == 1


def test_a_renewed_claim_holds(db: Session) -> None:
    add_jobs(db, 1)
    (job,) = claim(db, ORDERS, "w", 1)
    later = utc_now() + ORDERS.lease
    assert renew(db, ORDERS, job, "w", later)
    assert take_over(db, ORDERS, later + timedelta(seconds=1)) == 0


def test_a_claim_from_a_clock_that_was_set_back_is_not_held_until_then(db: Session) -> None:
    add_jobs(db, 1)
    (job,) = claim(db, ORDERS, "w", 1)
    assert take_over(db, ORDERS, utc_now() - ORDERS.lease / 2) == 0
    before = utc_now() - timedelta(days=1)
    assert take_over(db, ORDERS, before) == 1
    assert claim(db, ORDERS, "next", 1, now=before) == [job]


def test_a_job_that_kills_its_workers_ends_as_a_dead_letter(db: Session) -> None:
    add_jobs(db, 1)
    at = utc_now()
    for _worker in range(5):
        assert len(claim(db, ORDERS, "w", 1, now=at)) == 1
        at += ORDERS.lease + timedelta(seconds=1)
        assert take_over(db, ORDERS, at) == 1
    assert [row["last_error"] for row in dead_letters(db, ORDERS)] == [WORKER_DIED]


def test_the_state_tells_the_age_of_what_could_run(db: Session) -> None:
    assert (state(db, ORDERS).pending, state(db, ORDERS).oldest_seconds) == (0, 0.0)
    add_jobs(db, 2)
    db.execute(update(OrderJob).values(created_at=utc_now() - timedelta(minutes=5)))
    found = state(db, ORDERS)
    assert (found.pending, found.running) == (2, 0)
    assert 300 <= found.oldest_seconds < 360


@pytest.mark.parametrize("served_by", ["sqlite", "postgres"], indirect=True)
def test_finished_jobs_are_not_looked_at(db: Session, engine: Engine) -> None:
    """The claim walks an index of open jobs, whatever else the table holds."""
    add_jobs(db, 30)
    db.execute(update(OrderJob).where(OrderJob.id % 15 != 0).values(status="DONE"))
    db.commit()
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    claim(db, ORDERS, "w", 1)
    event.remove(engine, "before_cursor_execute", note)
    looks = [one for one in sent if "LIMIT" in one[0]]
    with engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN "
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            explain = "EXPLAIN "
        plans = [
            str(connection.exec_driver_sql(explain + statement, values).all()) for statement, values in looks
        ]
    assert looks and all("ix_order_jobs_open" in plan for plan in plans), plans


@pytest.mark.parametrize("served_by", ["postgres"], indirect=True)
def test_what_another_worker_is_claiming_is_skipped_and_not_waited_for(
    db: Session, session_factory: Sessions
) -> None:
    add_jobs(db, 3)
    with session_factory() as other:
        first = claim(other, ORDERS, "a", 1)  # not committed
        db.execute(text("SET LOCAL lock_timeout = '2s'"))
        assert len(claim(db, ORDERS, "b", 2)) == 2
        assert claim(db, ORDERS, "b", 2) == []
        other.rollback()
    assert claim(db, ORDERS, "b", 2) == first
