"""With ST_WEBHOOK_DISPATCH=queue: what a worker does with the job of one order.

The job's claim is looked at in the transaction that notes that a broker is asked, and the job is done after the
transaction that stores how the dispatch has ended. So a worker that was killed leaves one of these, and the next one goes on from it:

| the order says | so |
|---|---|
| WAITING, AUTO | nobody was asked: it is sent now, unless it is too old |
| SENDING | a broker was asked: it is asked for the order's key, once no call can be under way |
| FAILED | the broker refused it; the copy in the waiting queue is missing, if there is to be one |
| anything else | it is sent, or a person has taken it: only the end is missing |
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from fastapi import HTTPException
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.models import Order, OrderJob
from app.services.brokers.outside import OUTSIDE
from app.services.orders.sending.asked import UNKNOWN_AFTER, NotMine
from app.services.orders.sending.jobs import ORDERS
from app.services.orders.sending.unknown import Found, settle
from app.services.shared.jobs import claim, metrics
from app.services.shared.jobs.crew import Crew
from app.services.shared.jobs.queue import RUNNING
from app.services.webhook.dispatch import (
    PENDING,
    Claim,
    Dispatch,
    dispatch_auto,
    may_move_to_waiting,
    move_to_waiting,
    put_aside,
)

logger = logging.getLogger(__name__)
TOO_OLD = "The order waited too long for a worker; moved to Waiting Queue. It was not sent."
GAVE_UP = "The dispatch failed too often; moved to Waiting Queue. The order was not sent. Last error: {error}"
SILENT = "The broker cannot say whether it has the order."


def order_crew(sessions: Callable[[], Session], settings: Settings) -> Crew | None:
    """The workers of this process; None if it is to have none."""
    if settings.webhook_dispatch != "queue" or not settings.order_workers:
        return None
    return Crew(ORDERS, sessions, OrderWork(sessions, settings), settings.order_workers)


class OrderWork:
    """Does one claimed job of the queue of orders.

    Args:
        sessions: makes a new session.
    """

    def __init__(self, sessions: Callable[[], Session], settings: Settings) -> None:
        self._sessions = sessions
        self._settings = settings

    def __call__(self, job_id: int, worker_id: str) -> None:
        """Do the job and store how it ended."""
        try:
            with self._sessions() as db:
                ended = _Job(db, self._settings, job_id, worker_id).do()
        except NotMine:
            ended = "lost"
        except Exception as error:  # a fault of one job ends no worker; the order says how far it came
            logger.exception("the job %s of an order failed", job_id)
            with self._sessions() as db:
                ended = _Job(db, self._settings, job_id, worker_id).fail(f"{type(error).__name__}: {error}")
        metrics.ENDED.labels(ORDERS.name, ended).inc()


class _Job:
    """One job in a session of its own. Each move returns how the claim ended, in a word."""

    def __init__(self, db: Session, settings: Settings, job_id: int, worker_id: str) -> None:
        self._db = db
        self._settings = settings
        self._id = job_id
        self._worker = worker_id
        self._claim = Claim(
            still_mine=lambda db: claim.renew(db, ORDERS, job_id, worker_id),
            end=lambda db: claim.finish(db, ORDERS, job_id, worker_id),
        )

    def do(self) -> str:
        job = self._db.get(OrderJob, self._id)
        if job is None or job.status != RUNNING or job.locked_by != self._worker:
            return "lost"
        order = self._db.get_one(Order, job.order_id)
        what = Dispatch(**json.loads(job.payload_json))
        if order.status == "SENDING" and not order.broker_order_id:
            return self._settle(order)
        if order.status == "FAILED" and may_move_to_waiting(what, order):
            move_to_waiting(self._db, what, order, order.error_message or "", self._claim)
            return "done"
        if order.status != "WAITING" or order.mode != "AUTO":
            return self._end_of(order)
        if job.expires_at is not None and utc_now() > job.expires_at:
            return self.fail(TOO_OLD, for_good=True)
        return self._send(order, what)

    def _send(self, order: Order, what: Dispatch) -> str:
        try:
            answer = dispatch_auto(
                self._db, self._settings, what, market_is_open=OUTSIDE.market_is_open, claim=self._claim
            )
        except HTTPException as failure:  # the order says so, too
            return self._finish(str(failure.detail))
        if answer.get("dispatch") == PENDING["dispatch"]:
            return self._put_back(order)
        return "done"

    def _settle(self, order: Order) -> str:
        """The broker was asked: find out what it said."""
        if utc_now() - order.updated_at < UNKNOWN_AFTER:
            return self._put_back(order)
        found = settle(self._db, self._settings, order)
        if found is Found.SILENT and order.status == "SENDING":
            return self.fail(SILENT)
        return self._finish(order.error_message)

    def _end_of(self, order: Order) -> str:
        """Somebody has dispatched the order: this worker's predecessor, or a person."""
        if order.mode == "AUTO" and order.status not in ("FAILED", "REJECTED_RISK", "CANCELLED"):
            return self._finish(None)
        return self._finish(f"The order is {order.status}, {order.mode}.")

    def _finish(self, note: str | None) -> str:
        mine = claim.finish(self._db, ORDERS, self._id, self._worker, note)
        self._db.commit()
        return "done" if mine else "lost"

    def _put_back(self, order: Order) -> str:
        """Until no call for the order can be under way."""
        later = order.updated_at + UNKNOWN_AFTER
        mine = claim.put_back(self._db, ORDERS, self._id, self._worker, later, SILENT)
        self._db.commit()
        return "unknown" if mine else "lost"

    def fail(self, error: str, *, for_good: bool = False) -> str:
        """Count a failed attempt; after the last one the job is a dead letter and the order waits for a person."""
        dead = claim.fail(self._db, ORDERS, self._id, self._worker, error, for_good=for_good)
        if dead:
            self._put_aside(error if for_good else GAVE_UP.format(error=error))
        self._db.commit()
        return "lost" if dead is None else "dead" if dead else "failed"

    def _put_aside(self, reason: str) -> None:
        job = self._db.get_one(OrderJob, self._id)
        put_aside(self._db, job.order_id, reason, _correlation_of(job))


def _correlation_of(job: OrderJob) -> str | None:
    """None too where the payload cannot be read, which may be why the job has failed."""
    try:
        return Dispatch(**json.loads(job.payload_json)).correlation_id
    except (TypeError, ValueError):
        return None
