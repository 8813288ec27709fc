"""What runs beside the answering of requests, by the role of the process."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from app.core.config import Role, Settings, running_under_pytest
from app.db.session.runtime import runtime
from app.retention.run import shadow_lag_seconds
from app.roles.leader import Leadership, lock_for
from app.roles.scheduler import Scheduler, Task, due_jobs, retention, stranded_orders
from app.services.deployments.runtime import DeploymentRuntime, runtime_wanted
from app.services.webhook.door.outside.queued import order_crew


class Background:
    """The threads of a process.

    Args:
        sessions: makes a new session.
    """

    def __init__(self, role: Role, sessions: Callable[[], Session], settings: Settings) -> None:
        self._role = role
        self._sessions = sessions
        self._settings = settings
        self._jobs = DeploymentRuntime(sessions, settings, enqueues=role is Role.ALL)
        self._orders = order_crew(sessions, settings)
        self._scheduler: Scheduler | None = None

    def start(self) -> None:
        """Start what the role asks for; under pytest only jobs, if a test wants them."""
        if self._role in (Role.ALL, Role.WORKER):
            self._jobs.start()
            if self._orders is not None and not running_under_pytest():
                self._orders.start()
        if self._role in (Role.ALL, Role.SCHEDULER) and not running_under_pytest():
            self._scheduler = Scheduler(Leadership(lock_for(runtime())), self._tasks())
            self._scheduler.start()

    def stop(self) -> None:
        """Let everything come to its end."""
        if self._scheduler is not None:
            self._scheduler.stop()
        self._jobs.stop()
        if self._orders is not None:
            self._orders.stop()

    def _tasks(self) -> list[Task]:
        tasks = [
            stranded_orders(self._sessions),
            retention(self._sessions, self._settings, shadow_lag_seconds),
        ]
        if self._role is Role.SCHEDULER and runtime_wanted():
            tasks.append(due_jobs(self._sessions, self._settings))
        return tasks
