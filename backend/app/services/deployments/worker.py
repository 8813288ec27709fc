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
    DEPLOYMENTS,
    acquire_deployment_lock,
    claim_next_job,
    mark_job_done,
    mark_job_error,
    record_action,
    release_deployment_lock,
    requeue_stale_running_jobs,
    sweep_stale_locks,
)
from app.services.deployments.locks import enter_section, takes_row
from app.services.shared.jobs.claim import put_back, renew
from app.services.shared.jobs.dead import state
from app.services.shared.jobs.wake import Wake

logger = logging.getLogger(__name__)
JobHandler = Callable[[Session, StrategyDeploymentJob], None]
FIRST_PAUSE_SECONDS: Final = 1.0
PREPARE_EVERY_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 30.0
TIDY_EVERY_SECONDS: Final = 15.0
BUSY_DELAY: Final = timedelta(seconds=1)


class NotMine(Exception):
    """Another worker has taken over the job."""


def record_execution(db: Session, job: StrategyDeploymentJob) -> None:
    """The default handler: note that the job was executed, with its payload."""
    payload: Mapping[str, Any] = json.loads(job.payload_json)
    record_action(db, deployment_id=job.deployment_id, job_id=job.id, kind="JOB_EXECUTED", payload=payload)


class DeploymentWorker:
    """One worker of the job queue; `wake` wakes it when there is a new job.

    Args:
        sessions: makes a new session; every step uses its own.
        worker_id: name that claimed jobs and locks carry, at most 64 characters.
        handler: does the work of a job within the given session; raises to have the job tried again.
        before_claim: called with a session before a claim, once a second at most, for example to enqueue what is due.
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
        self._tidied_at = self._prepared_at = float("-inf")
        self.wake = Wake(DEPLOYMENTS, sessions, PREPARE_EVERY_SECONDS)  # bars and windows come by the second

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set and `wake` is stopped; errors make the pauses longer, up to half a minute."""
        pause = 0.0
        while not stop.wait(pause):
            try:
                if not self.run_once():
                    self.wake.wait()
                pause = 0.0
            except Exception:
                logger.exception("deployment worker %s could not take its turn", self._worker_id)
                pause = min(max(pause, FIRST_PAUSE_SECONDS) * 2, MAX_PAUSE_SECONDS)

    def run_once(self) -> bool:
        """Tidy up, claim one job and run it; False when there was none. Database errors are raised."""
        with self._sessions() as db:
            self._tidy(db)
            self._prepare(db)
            db.commit()
            claim = claim_next_job(db, worker_id=self._worker_id)
            db.commit()
        if claim is None:
            return False
        self._run_claimed(claim.job.id, claim.job.deployment_id)
        return True

    def _prepare(self, db: Session) -> None:
        if self._before_claim is None or time.monotonic() - self._prepared_at < PREPARE_EVERY_SECONDS:
            return
        self._prepared_at = time.monotonic()
        self._before_claim(db)

    def _tidy(self, db: Session) -> None:
        """Free what dead workers left behind, now and then: it writes, so not on every turn."""
        if time.monotonic() - self._tidied_at < TIDY_EVERY_SECONDS:
            return
        requeue_stale_running_jobs(db)
        if takes_row(db):
            sweep_stale_locks(db)
        state(db, DEPLOYMENTS)
        self._tidied_at = time.monotonic()

    def _run_claimed(self, job_id: int, deployment_id: int) -> None:
        row = self._takes_row(deployment_id)
        try:
            if row is False or not self._work(job_id, deployment_id):
                self._put_back(job_id)
        except NotMine:
            logger.warning("deployment job %s was taken over: its worker had stood still", job_id)
        except Exception as error:
            logger.exception("deployment job %s failed", job_id)
            self._fail(job_id, error)
        finally:
            if row:
                with self._sessions() as db:
                    release_deployment_lock(db, deployment_id=deployment_id, worker_id=self._worker_id)
                    db.commit()

    def _takes_row(self, deployment_id: int) -> bool | None:
        """Whether the row of the deployment's section is taken; None where no row is needed."""
        with self._sessions() as db:
            if not takes_row(db):
                return None
            taken = acquire_deployment_lock(db, deployment_id=deployment_id, worker_id=self._worker_id)
            db.commit()
            return taken

    def _work(self, job_id: int, deployment_id: int) -> bool:
        """The handler's writes and the job's outcome are one transaction; False when the deployment is busy."""
        with self._sessions() as db:
            job = db.get(StrategyDeploymentJob, job_id)
            if job is None:
                return True  # deleted with its deployment since it was claimed
            if not enter_section(db, deployment_id=deployment_id, worker_id=self._worker_id):
                return False
            self._handler(db, job)
            db.flush()
            if not renew(db, DEPLOYMENTS, job_id, self._worker_id):
                raise NotMine
            mark_job_done(db, job=job)
            db.commit()
            return True

    def _fail(self, job_id: int, error: Exception) -> None:
        with self._sessions() as db:
            job = db.get(StrategyDeploymentJob, job_id)
            if job is not None and renew(db, DEPLOYMENTS, job_id, self._worker_id):
                mark_job_error(db, job=job, error=f"{type(error).__name__}: {error}")
                db.commit()

    def _put_back(self, job_id: int) -> None:
        """Another worker is busy with the deployment: try again shortly, without counting an attempt."""
        with self._sessions() as db:
            put_back(db, DEPLOYMENTS, job_id, self._worker_id, utc_now() + BUSY_DELAY)
            db.commit()
