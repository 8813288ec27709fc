"""What goes wrong while a burst is sent: processes end, servers die or stand still, other programs hold locks.

A fault begins with the burst and is over at most some ten seconds later, as its cause would be in operation: a supervisor
or a service manager starts what has ended, another program releases its lock. Each runs in a thread of its own.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self

import psutil
import psycopg

from loadtests.burst.meanwhile.late import LateAnswers
from loadtests.burst.send.plan import (
    BACKEND_KILLED,
    POSTGRES_KILLED,
    POSTGRES_LOCKED,
    POSTGRES_STALLED,
    RESTART,
    SHADOW_LATE,
    SQLITE_LOCKED,
    WORKER_KILLED,
)
from loadtests.burst.world import Door, World
from loadtests.stage.processes import READY_S, Broken

AFTER_S = 0.3  # a fault begins so long after the burst: deliveries are under way
HELD_S = 10.0  # locks, a standing server and a late shadow last so long
DOWN_S = 2.0  # between a server's end and its start
LATE_S = 0.2  # how late a late shadow answers
OVER_S = 90.0  # after so long a fault has to be over


@dataclass(frozen=True)
class Scene:
    """What a fault may lay hands on."""

    world: World
    door: Door
    late: LateAnswers | None = None


def _rolling_restart(scene: Scene) -> None:
    """The supervisor ends (SIGTERM) and replaces one worker after the other."""
    before = set(scene.door.worker_pids())
    os.kill(scene.door.pid, signal.SIGHUP)
    _await(lambda: before.isdisjoint(scene.door.worker_pids()), "not every worker was replaced")
    scene.door.wait_ready()


def _kill_worker(scene: Scene) -> None:
    """kill -9 of one worker; the supervisor starts another."""
    killed, *others = scene.door.worker_pids()
    os.kill(killed, signal.SIGKILL)
    _await(lambda: len(set(scene.door.worker_pids()) - {killed}) > len(others), "no worker was started")
    scene.door.wait_ready()


def _kill_backend(scene: Scene) -> None:
    """kill -9 of the supervisor and all workers; a service manager starts the backend again."""
    scene.door.kill()
    scene.door.start()


def _kill_postgres(scene: Scene) -> None:
    """The server dies in the middle of everything, and recovers when it is started again."""
    scene.world.server.stop(signal.SIGQUIT)
    time.sleep(DOWN_S)
    scene.world.server.start()


def _stall_postgres(scene: Scene) -> None:
    """No process of the server moves; connections stay open."""
    postmaster = psutil.Process(scene.world.server.pid)
    standing = [postmaster]
    postmaster.suspend()
    try:
        for process in postmaster.children(recursive=True):
            standing.append(process)
            process.suspend()
        time.sleep(HELD_S)
    finally:
        for process in standing:
            if process.is_running():
                process.resume()


def _lock_sqlite(scene: Scene) -> None:
    """Another program holds the file's write lock."""
    with closing(sqlite3.connect(scene.world.sqlite_path, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(HELD_S)
        other.execute("ROLLBACK")


def _lock_postgres(scene: Scene) -> None:
    """Another program holds the locks of the tables that every delivery needs."""
    with psycopg.connect(scene.world.conninfo) as other:
        other.execute("LOCK TABLE alerts, orders IN ACCESS EXCLUSIVE MODE")
        time.sleep(HELD_S)
        other.rollback()


def _answer_late(scene: Scene) -> None:
    """The shadow is far away for a while."""
    assert scene.late is not None
    scene.late.delay_s = LATE_S
    time.sleep(HELD_S)
    scene.late.delay_s = 0.0


HAPPENS: Mapping[str, Callable[[Scene], None]] = MappingProxyType(
    {
        RESTART: _rolling_restart,
        WORKER_KILLED: _kill_worker,
        BACKEND_KILLED: _kill_backend,
        POSTGRES_KILLED: _kill_postgres,
        POSTGRES_STALLED: _stall_postgres,
        POSTGRES_LOCKED: _lock_postgres,
        SQLITE_LOCKED: _lock_sqlite,
        SHADOW_LATE: _answer_late,
    }
)


def _await(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(otherwise)
        time.sleep(0.05)


class Fault:
    """A fault that begins with the burst.

    Args:
        scene: what it is done to.
        situation: which fault; one of `HAPPENS`.
        began: when the burst begins, in seconds since the epoch.
    """

    def __init__(self, scene: Scene, situation: str, began: float) -> None:
        self.told: dict[str, Any] = {}
        self.failed = 0
        self._scene = scene
        self._situation = situation
        self._at = self._over = began + AFTER_S
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="fault", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join(timeout=OVER_S)

    def look(self) -> None:
        """Nothing: a fault takes its course."""

    def finish(self, began: float) -> list[str]:
        """Wait until the fault is over; what was wrong with it."""
        self._thread.join(timeout=OVER_S)
        if self._thread.is_alive():
            raise Broken(f"{self._situation} did not come to its end")
        self.told |= {"what": self._situation, "from_s": self._at - began, "until_s": self._over - began}
        if not self._errors:
            return []
        self.failed = 1
        return [f"{self._situation} failed: {type(error).__name__}: {error}" for error in self._errors]

    def _run(self) -> None:
        try:
            time.sleep(max(0.0, self._at - time.time()))
            HAPPENS[self._situation](self._scene)
        except Exception as error:  # whatever it was, the run judges it when the thread has ended
            self._errors.append(error)
        self._over = time.time()
