"""Starts and stops the deployment worker with the application, if the operator wants one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial

from sqlalchemy.orm import Session

from app.core.config import Settings, is_truthy, running_under_pytest
from app.services.deployments.scheduler import enqueue_due_jobs_once
from app.services.deployments.worker import DeploymentWorker
from app.services.shared.jobs.crew import worker_name


def runtime_wanted() -> bool:
    """ST_ENABLE_DEPLOYMENTS_RUNTIME; under pytest a second variable has to agree."""
    if running_under_pytest() and not is_truthy(os.environ.get("ST_ENABLE_DEPLOYMENTS_RUNTIME_UNDER_PYTEST")):
        return False
    return is_truthy(os.environ.get("ST_ENABLE_DEPLOYMENTS_RUNTIME"))


class DeploymentRuntime:
    """The worker of this process; does nothing unless it is wanted.

    Args:
        enqueues: put due jobs into the queue before each claim, for want of a scheduler that does.
    """

    def __init__(self, sessions: Callable[[], Session], settings: Settings, *, enqueues: bool = True) -> None:
        enqueue = partial(_enqueue_due, settings) if enqueues else None
        self._worker = DeploymentWorker(sessions, worker_name(), before_claim=enqueue)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work in a thread; with ST_DEPLOYMENTS_RUNTIME_MODE=once only one job is run, here."""
        if not runtime_wanted():
            return
        if os.environ.get("ST_DEPLOYMENTS_RUNTIME_MODE", "").strip().lower() == "once":
            self._worker.run_once()
            return
        self._worker.wake.start()
        self._thread = threading.Thread(
            target=self._worker.run, args=(self._stop,), name="deployments", daemon=True
        )
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Let the worker finish its job and end."""
        self._stop.set()
        self._worker.wake.stop()
        if self._thread is not None:
            self._thread.join(timeout_seconds)


def _enqueue_due(settings: Settings, db: Session) -> None:
    enqueue_due_jobs_once(db, settings)
