"""The processes that make up a profile's load: locust, and the application's own background writer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtests.stage.processes import REPO, Broken, kill_group, python_env
from loadtests.stage.stage import ADMIN, WEBHOOK_SECRET, Stage
from loadtests.traffic.profiles import Profile

STOP_S = 40.0


class Senders:
    """The load of one run, each process with a ledger of its own in the stage's directory.

    Args:
        stage: set up.
        marker: prefix of the run's markers.
        env: ST_ variables of the background writer, besides those of the stage.
    """

    def __init__(self, stage: Stage, marker: str, env: Mapping[str, str]) -> None:
        self.ledgers: list[Path] = []
        self._stage = stage
        self._marker = marker
        self._env = dict(env)
        self._counts = stage.base / "counts.json"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, url: str, profile: Profile, scale: float, began: float, seconds: float) -> None:
        """Send to the backend at `url` from the moment `began` on (seconds since the epoch)."""
        self._spawn(
            "locust", "-f", str(REPO / "loadtests" / "locustfile.py"), "--headless", "--only-summary",
            "--host", url, "--load", profile.name, "--scale", str(scale), "--seconds", str(seconds),
            "--origin", str(began), "--prefix", self._marker, "--senders", ",".join(self._stage.users),
            "--secret", WEBHOOK_SECRET, "--admin", ":".join(ADMIN), "--counts", str(self._counts),
            ledger="locust",
        )  # fmt: skip
        if profile.background:
            self._spawn(
                "loadtests.traffic.background", "--seconds", str(seconds), "--prefix", self._marker,
                "--seed", str(profile.seed), ledger="background",
            )  # fmt: skip

    def _spawn(self, module: str, *options: str, ledger: str) -> None:
        path = self._stage.base / f"{ledger}.jsonl"
        path.touch()
        self.ledgers.append(path)
        with (self._stage.base / f"{ledger}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, *options, "--ledger", str(path)],
                    cwd=self._stage.base,
                    env=python_env(self._stage.env(**self._env)),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def stop(self) -> None:
        """Send nothing new and wait for all answers; Broken if a process had ended or does not end."""
        early = [process for process in self._processes if process.poll() is not None]
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                raise Broken(f"a sender did not end within {STOP_S:g} s") from None
        if early or not self._counts.exists():
            logs = "".join(
                path.with_suffix(".log").read_text(errors="replace")[-800:] for path in self.ledgers
            )
            raise Broken(f"the load ended before the phases did: {logs}")

    def counts(self) -> dict[str, Any]:
        """What locust counted: `requests`, `failed`, and the `errors` as texts."""
        found: dict[str, Any] = json.loads(self._counts.read_text(encoding="utf-8"))
        return found

    def kill(self) -> None:
        """End what still runs, whatever is under way."""
        for process in self._processes:
            if process.poll() is None:
                kill_group(process)
