"""The processes of a run: backends and calls of st-migrate, each in a process group of its own.

A group of its own keeps Ctrl-C from reaching them before the demo has decided in what order they end,
and lets a kill -9 take a uvicorn supervisor together with its workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

REPO = Path(__file__).resolve().parents[2]
WEBHOOK_SECRET = "sample-webhook-secret"
ADMIN = ("admin", "load-admin-password")
READY_S = 180.0  # a start with ST_CUTOVER=auto performs a switch first, and the machine may be busy
STOP_S = 20.0


class Broken(RuntimeError):
    """A process of the run did not do what it had to; the message ends with what it wrote."""


def python_env(extra: Mapping[str, str], checkout: Path = REPO) -> dict[str, str]:
    """This environment without what changes settings (ST_ variables, PostgreSQL's own, pytest), plus `extra`.

    `checkout`: whose application and tool are run.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PG", "ST_", "PYTEST_"))
    }
    path = os.pathsep.join((str(checkout / "backend"), str(checkout)))
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


def kill_group(process: subprocess.Popen[Any]) -> None:
    """kill -9 for a process and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Backend:
    """`uvicorn app.main:app` with workers, on a port of 127.0.0.1.

    Args:
        port: where it listens.
        env: ST_ variables.
        log: file for everything it prints.
        workers: worker processes.
        checkout: whose application is run.
    """

    application = "app.main:app"

    def __init__(
        self, port: int, env: Mapping[str, str], log: Path, *, workers: int = 2, checkout: Path = REPO
    ) -> None:
        self.port = port
        self.env = env
        self.log = log
        self.workers = workers
        self.checkout = checkout
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its supervisor runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Backend:
        """Start it and wait until it says that it is ready; Broken if it dies or takes too long."""
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self.workers)]
        if (self.checkout / "backend" / "app" / "run.py").exists():
            command = [sys.executable, "-m", "app.run", "all", "--application", self.application, *where]
        else:  # an earlier release
            command = [sys.executable, "-m", "uvicorn", self.application, *where, "--no-access-log",
                       "--log-level", "warning", "--timeout-graceful-shutdown", "10"]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.checkout / "backend",
                env=python_env(self.env, self.checkout),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait for 200 from /health/ready; Broken if it dies or takes too long."""
        deadline = time.monotonic() + READY_S
        while self.ready() is None:
            if not self.running or time.monotonic() > deadline:
                how = "is not ready in time" if self.running else "ended before it was ready"
                last = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
                raise Broken(f"the backend on port {self.port} {how}; its log ends with:\n{last}")
            time.sleep(0.05)

    def ready(self) -> dict[str, Any] | None:
        """The answer of /health/ready, None while there is none or it is not 200."""
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=3) as answer:
                body: dict[str, Any] = json.load(answer)
                return body
        except (OSError, urllib.error.URLError):
            return None

    @property
    def pid(self) -> int:
        """Process id of the supervisor; Broken if it is not running."""
        if self._process is None:
            raise Broken("the backend was not started")
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """Process ids of the workers, not of multiprocessing's helpers."""
        if self._process is None:
            return []
        try:
            children = psutil.Process(self._process.pid).children()
            return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """End it gracefully: requests under way are answered."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """kill -9, workers included."""
        if self._process is not None:
            kill_group(self._process)


def reported_pause(log: Path, start: int) -> float | None:
    """What the coordinator inside a backend wrote about its pause beyond an offset of the log, in ms."""
    with log.open("rb") as file:
        file.seek(start)
        words = file.read().decode(errors="replace").split("pause ")[1:]
    pauses = [float(word.split(" ")[0]) for word in words if word.split(" ")[0].replace(".", "").isdigit()]
    return max(pauses, default=None)


@dataclass(frozen=True)
class Result:
    """What one call of st-migrate printed."""

    verb: str
    exit: int
    data: Mapping[str, Any]
    seconds: float
    errors: str

    @property
    def message(self) -> str:
        """Its one sentence for people."""
        return str(self.data.get("message", ""))


class StMigrate:
    """Calls `python -m migration VERB --json` as an operator would, in a process of its own.

    Args:
        env: ST_ variables.
        log: everything that the calls write to stderr.
        checkout: whose st-migrate is called.
    """

    def __init__(self, env: Mapping[str, str], log: Path, *, checkout: Path = REPO) -> None:
        self.env = env
        self.log = log
        self.checkout = checkout

    def begin(
        self, verb: str, *options: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Start one call; its streams are pipes unless told otherwise."""
        return subprocess.Popen(
            [sys.executable, "-m", "migration", *verb.split(), *options, "--json"],
            cwd=self.checkout,
            env=python_env(self.env, self.checkout),
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )

    def run(self, verb: str, *options: str, timeout_s: float = 120.0) -> Result:
        """One call to its end; Broken if it does not end in time or prints no object."""
        started = time.monotonic()
        process = self.begin(verb, *options)
        try:
            out, errors = process.communicate(timeout=timeout_s)
        except BaseException as error:
            kill_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise Broken(f"st-migrate {verb} took more than {timeout_s:g} s") from None
            raise
        return self.result(verb, process.returncode, out, errors, time.monotonic() - started)

    def result(self, verb: str, code: int, out: str, errors: str, seconds: float) -> Result:
        """What a finished call printed."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ st-migrate {verb} -> {code}\n{errors}{out}\n")
        try:
            data = json.loads(out)
        except ValueError:
            raise Broken(f"st-migrate {verb} exited {code} without a result: {errors[-2000:]}") from None
        return Result(verb, code, data, seconds, errors)
