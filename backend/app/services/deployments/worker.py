"""Runs queued jobs one after the other, and outlives whatever goes wrong with any of them.

Claim, work and outcome are separate short transactions. An error anywhere (a locked database included)
is logged and waited out with a growing pause; the loop ends only when it is told to.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.models import StrategyDeploymentJob
from app.services.deployments.jobs import (
    acquire_deployment_lock,
    claim_next_job,
    mark_job_done,
    mark_job_error,
    record_action,
    release_deployment_lock,
    requeue_stale_running_jobs,
    sweep_stale_locks,
)

logger = logging.getLogger(__name__)
JobHandler = Callable[[Session, StrategyDeploymentJob], None]
IDLE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 30.0
TIDY_EVERY_SECONDS: Final = 15.0
BUSY_DELAY: Final = timedelta(seconds=1)


def record_execution(db: Session, job: StrategyDeploymentJob) -> None:
    """The default handler: note that the job was executed, with its payload."""
    payload: Mapping[str, Any] = json.loads(job.payload_json)
    record_action(db, deployment_id=job.deployment_id, job_id=job.id, kind="JOB_EXECUTED", payload=payload)


class DeploymentWorker:
    """One worker of the job queue.

    Args:
        sessions: makes a new session; every step uses its own.
        worker_id: name that claimed jobs and locks carry, at most 64 characters.
        handler: does the work of a job within the given session; raises to have the job tried again.
        before_claim: called with a session before each claim, for example to enqueue what is due.
    """

    def __init__(
        self,
        sessions: Callable[[], Session],
        worker_id: str,
        handler: JobHandler = record_execution,
        before_claim: Callable[[Session], object] | None = None,
    ) -> None:
        self._sessions = sessions
        self._worker_id = worker_id
        self._handler = handler
        self._before_claim = before_claim
        self._tidied_at = float("-inf")

    def run(self, stop: threading.Event, idle_seconds: float = IDLE_SECONDS) -> None:
        """Work until `stop` is set; errors make the pauses longer, up to half a minute."""
        pause = idle_seconds
        while not stop.is_set():
            try:
                worked = self.run_once()
                pause = 0.0 if worked else idle_seconds
            except Exception:
                logger.exception("deployment worker %s could not take its turn", self._worker_id)
                pause = min(max(pause, idle_seconds) * 2, MAX_PAUSE_SECONDS)
            stop.wait(pause)

    def run_once(self) -> bool:
        """Tidy up, claim one job and run it; False when there was none. Database errors are raised."""
        with self._sessions() as db:
            self._tidy(db)
            if self._before_claim is not None:
                self._before_claim(db)
            db.commit()
            claim = claim_next_job(db, worker_id=self._worker_id)
            db.commit()
        if claim is None:
            return False
        self._run_claimed(claim.job.id, claim.job.deployment_id)
        return True

    def _tidy(self, db: Session) -> None:
        """Free what dead workers left behind, now and then: it writes, so not on every turn."""
        if time.monotonic() - self._tidied_at < TIDY_EVERY_SECONDS:
            return
        requeue_stale_running_jobs(db)
        sweep_stale_locks(db)
        self._tidied_at = time.monotonic()

    def _run_claimed(self, job_id: int, deployment_id: int) -> None:
        with self._sessions() as db:
            locked = acquire_deployment_lock(db, deployment_id=deployment_id, worker_id=self._worker_id)
            db.commit()
            if not locked:
                self._put_back(db, job_id)
                return
        try:
            self._work(job_id)
        except Exception as error:
            logger.exception("deployment job %s failed", job_id)
            self._fail(job_id, error)
        finally:
            with self._sessions() as db:
                release_deployment_lock(db, deployment_id=deployment_id, worker_id=self._worker_id)
                db.commit()

    def _work(self, job_id: int) -> None:
        """The handler's writes and the job's outcome are one transaction."""
        with self._sessions() as db:
            job = db.get(StrategyDeploymentJob, job_id)
            if job is None:
                return  # deleted with its deployment since it was claimed
            self._handler(db, job)
            mark_job_done(db, job=job)
            db.commit()

    def _fail(self, job_id: int, error: Exception) -> None:
        with self._sessions() as db:
            job = db.get(StrategyDeploymentJob, job_id)
            if job is not None:
                mark_job_error(db, job=job, error=f"{type(error).__name__}: {error}")
                db.commit()

    def _put_back(self, db: Session, job_id: int) -> None:
        """Another worker is busy with the deployment: try again shortly, without counting an attempt."""
        job = db.get(StrategyDeploymentJob, job_id)
        if job is not None:
            job.status = "PENDING"
            job.locked_by = job.locked_at = None
            job.run_after = utc_now() + BUSY_DELAY
            db.commit()
