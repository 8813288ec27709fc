"""Recurring work of the one process that leads: each task has a thread, so that a long one delays no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.db.common.errors import first_line
from app.retention.run import Retention, last_run
from app.roles.leader import Leadership
from app.roles.metrics import FAILED_TURNS
from app.services.deployments.scheduler import enqueue_due_jobs_once
from app.services.orders.stranded import LOOK_EVERY_SECONDS, look_for_stranded_orders

logger = logging.getLogger(__name__)
Sessions = Callable[[], Session]
TICK_S: Final = 0.5
ENQUEUE_EVERY_S: Final = 1.0
AGAIN_AFTER_FAILURE: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Task:
    """Work that recurs. An error is logged, and the task tried again at its next turn."""

    name: str
    every_s: float
    run: Callable[[], object]
    stop: Callable[[], object] = lambda: None


class Scheduler:
    """Runs tasks while this process leads."""

    def __init__(self, leadership: Leadership, tasks: Sequence[Task], tick_s: float = TICK_S) -> None:
        self._leadership = leadership
        self._tasks = tasks
        self._tick_s = tick_s
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(task,), name=f"scheduler-{task.name}", daemon=True)
            for task in tasks
        ]
        for task in tasks:
            FAILED_TURNS.labels(
                task.name
            )  # a series that begins with its first event is never seen to grow by it

    def start(self) -> None:
        self._leadership.start()
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Let running tasks come to their end, and give the lead to another process."""
        self._stop.set()
        for task in self._tasks:
            task.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout_seconds)
        self._leadership.stop()

    def _repeat(self, task: Task) -> None:
        due = time.monotonic()
        while not self._stop.wait(self._tick_s):
            if not self._leadership.held() or time.monotonic() < due:
                continue
            due = time.monotonic() + task.every_s
            try:
                task.run()
            except Exception as error:  # whatever it is, the next turn comes
                FAILED_TURNS.labels(task.name).inc()
                logger.warning("%s could not take its turn: %s", task.name, first_line(error))


def due_jobs(sessions: Sessions, settings: Settings) -> Task:
    """Jobs for the bars that have closed go into the queue."""

    def enqueue() -> None:
        with sessions() as db:
            enqueue_due_jobs_once(db, settings)
            db.commit()

    return Task("due-jobs", ENQUEUE_EVERY_S, enqueue)


def stranded_orders(sessions: Sessions) -> Task:
    """Orders whose dispatch never ended are settled or shown to a person."""

    return Task("stranded-orders", LOOK_EVERY_SECONDS, lambda: look_for_stranded_orders(sessions))


def retention(sessions: Sessions, settings: Settings, lag_seconds: Callable[[], float | None]) -> Task:
    """Old rows go into archives, if ST_RETENTION says so."""
    running = Retention(sessions, settings, lag_seconds=lag_seconds)
    rests_until = 0.0

    def run() -> None:
        nonlocal rests_until
        if (
            settings.retention
            and time.monotonic() >= rests_until
            and is_due(running.folder, settings, utc_now())
        ):
            result = running.run()
            if result.error:  # on a full disk no note in the folder says when to try again
                rests_until = time.monotonic() + _pause_after_failure(settings).total_seconds()
            logger.info("retention took %s rows out; error: %s", result.rows, result.error)

    return Task("retention", 30.0, run, running.stop)


def is_due(folder: Path, settings: Settings, now: datetime) -> bool:
    """Whether it is time for a run, by what the last one noted; a failed one is repeated earlier."""
    last = last_run(folder)
    if last is None or last["finished"] is None:
        return True
    has_ended_early = last["error"] or last["stopped"]
    wait = _pause_after_failure(settings) if has_ended_early else timedelta(hours=settings.retention_every_h)
    return now - datetime.fromisoformat(last["finished"]) >= wait


def _pause_after_failure(settings: Settings) -> timedelta:
    return min(timedelta(hours=settings.retention_every_h), AGAIN_AFTER_FAILURE)
