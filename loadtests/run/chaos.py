"""kill -9 at random moments: of backend workers, whole backends, the apply worker and st-migrate itself.

Whatever is killed is started again as a service manager or an operator would: the same command once more.
The number of kills per command is bounded, so that every run ends.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from contextlib import suppress

from loadtests.show.lines import Lines
from loadtests.stage.processes import Backend, Broken, Result, StMigrate, kill_group
from loadtests.stage.stage import Stage
from loadtests.stage.thread import Stoppable

KILLS_PER_COMMAND = 2
BETWEEN_S = (3.0, 8.0)


class Chaos(Stoppable):
    """Kills what runs, from a thread of its own.

    Args:
        stage: whose processes.
        lines: every kill is told.
        seed: the same seed places the same kills, as far as the machine allows.
    """

    def __init__(self, stage: Stage, lines: Lines, seed: int) -> None:
        super().__init__("chaos")
        self.kills = 0
        self.random = random.Random(seed)
        self._stage = stage
        self._lines = lines
        self._backend: Backend | None = None
        self._worker: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def watch_over(self, backend: Backend) -> None:
        """This backend is the one to kill and to start again; call it before `start`, and when it changes."""
        with self._lock:
            self._backend = backend

    def start_roughly(self, backend: Backend) -> None:
        """Start a backend that is killed while it starts, and then once more."""
        dying = threading.Timer(self.random.uniform(1.0, 5.0), backend.kill)
        dying.start()
        self.told("the starting backend")
        with suppress(Broken):
            backend.start()
        dying.join()
        backend.start()

    def stop(self) -> None:
        """Kill nothing more; the apply worker ends too."""
        super().stop()
        if self._worker is not None:
            kill_group(self._worker)
            self._worker = None

    def told(self, what: str) -> None:
        """Count and tell one kill."""
        self.kills += 1
        self._lines.step(f"kill -9: {what}", "yellow")

    def _run(self) -> None:
        while not self._stopping.wait(self.random.uniform(*BETWEEN_S)):
            with self._lock:
                # A whole backend takes seconds to come back; more of these and nobody would be served.
                (kill,) = self.random.choices(
                    (self._kill_backend_worker, self._kill_worker, self._kill_backend), (3, 2, 1)
                )
                kill()

    def _kill_backend_worker(self) -> None:
        assert self._backend
        pids = self._backend.worker_pids()
        if pids:
            self.told("a worker of the backend")
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(pids), signal.SIGKILL)

    def _kill_backend(self) -> None:
        assert self._backend
        self.told("the backend")
        self._backend.kill()
        self._backend.start()

    def _kill_worker(self) -> None:
        if self._worker is not None:
            if self._worker.poll() is None:
                self.told("st-migrate worker")
            kill_group(self._worker)
        self._worker = self._stage.migrate().begin(
            "worker", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


class ChaosMigrate(StMigrate):
    """Calls st-migrate, kills it at a random moment, and calls it again.

    Args:
        migrate: the calls to disturb.
        chaos: when to kill.
    """

    def __init__(self, migrate: StMigrate, chaos: Chaos) -> None:
        super().__init__(migrate.env, migrate.log)
        self._chaos = chaos

    def run(self, verb: str, *options: str, timeout_s: float = 120.0) -> Result:
        for _ in range(self._chaos.random.randint(0, KILLS_PER_COMMAND)):
            started, process = time.monotonic(), self.begin(verb, *options)
            try:
                out, errors = process.communicate(timeout=self._chaos.random.uniform(0.5, 4.0))
            except subprocess.TimeoutExpired:
                kill_group(process)
                process.communicate()
                self._chaos.told(f"st-migrate {verb}")
                continue
            return self.result(verb, process.returncode, out, errors, time.monotonic() - started)
        return super().run(verb, *options, timeout_s=timeout_s)
