"""A load run's traffic: a profile played by locust, and the application's own background writer.

The profile's cycle begins at a moment that this process sets, so that it knows where the peaks are. Each
switch is called so much before a peak as its command took to get to the switch the last time.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from loadtests.judge.watch import EVERY_S
from loadtests.show.lines import Lines
from loadtests.stage.processes import (
    ADMIN,
    REPO,
    WEBHOOK_SECRET,
    Backend,
    Broken,
    kill_group,
    python_env,
)
from loadtests.stage.stage import Stage
from loadtests.traffic.ledger import Delivery, Fact, Ledger, read_ledgers
from loadtests.traffic.profiles import Profile
from loadtests.traffic.sender import Sender
from loadtests.traffic.signals import Signals, fresh_run

LOCUST_S = 3.0  # until locust is up
BEFORE_S = 2.0  # of load before the first command
FIT_S = 1.5
STOP_S = 40.0
SHARE = 0.7  # of what the machine carries that the peak may ask for
INTO_PEAK_S = 1.5  # a switch aims at the middle of a peak, but never later than this


def must_have_written(ledger: Path) -> None:
    """A background writer that was asked for has written something.

    Raises:
        Broken: its ledger holds no acknowledged write; its log says why.
    """
    if not any(isinstance(entry, Fact) and entry.acknowledged for entry in read_ledgers([ledger])):
        log = ledger.with_suffix(".log")
        said = log.read_text(encoding="utf-8", errors="replace")[-800:] if log.exists() else ""
        raise Broken(f"the background writer wrote nothing: {said}")


class ByLocust:
    """See `loadtests.run.traffic.Traffic`; each process has a ledger of its own in the stage's directory.

    `profile`: with as many users as the machine carries, once the traffic has begun; `began`: when its
    cycle began, in seconds since the epoch.

    Args:
        stage: whose users send.
        lines: where the profile is told.
        profile: the load.
        env: ST_ variables of the background writer, besides those of the stage.
        max_seconds: the load never lasts longer.
        scale: so many times the profile's users; None: as many as the machine carries, at most all.
    """

    def __init__(
        self,
        stage: Stage,
        lines: Lines,
        profile: Profile,
        *,
        env: Mapping[str, str],
        max_seconds: float,
        scale: float | None = None,
    ) -> None:
        self.marker = fresh_run()
        self.deliveries: list[Delivery] = []
        self.ledgers: list[Path] = []
        self.look_s = 5 * EVERY_S
        self.profile = profile
        self.scale = scale
        self.began = 0.0
        self._stage = stage
        self._lines = lines
        self._env = dict(env)
        self._max_seconds = max_seconds
        self._counts = stage.base / "counts.json"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, backend: Backend) -> None:
        """Scale the profile to the machine, unless the caller has said otherwise, and begin its cycle."""
        if self.scale is None:
            self.scale = self._fit(backend)
        self.began = time.time() + LOCUST_S
        seconds = str(self._max_seconds)
        self._spawn(
            "locust", "-f", str(REPO / "loadtests" / "run" / "locustfile.py"), "--headless", "--only-summary",
            "--host", backend.url, "--load", self.profile.name, "--scale", str(self.scale),
            "--seconds", seconds, "--origin", str(self.began), "--prefix", self.marker,
            "--senders", ",".join(self._stage.users), "--secret", WEBHOOK_SECRET, "--admin", ":".join(ADMIN),
            "--counts", str(self._counts), ledger="locust",
        )  # fmt: skip
        if self.profile.background:
            self._spawn(
                "loadtests.traffic.background", "--seconds", seconds, "--prefix", self.marker,
                "--seed", str(self.profile.seed), ledger="background",
            )  # fmt: skip
        self.profile = self.profile.scaled(self.scale)
        self._lines.step(f"{self.profile.name}, at most {self.profile.peak} users: {self.profile.why}")
        time.sleep(max(0.0, self.began + BEFORE_S - time.time()))

    def _fit(self, backend: Backend) -> float:
        signals = Signals(f"{self.marker}fit", self._stage.users, seed=self.profile.seed)
        with closing(Ledger(self._stage.base / "fit.jsonl")) as ledger:
            sender = Sender(signals, WEBHOOK_SECRET, ledger, target=backend.port, rate=1.0)
            carries = sender.carries(FIT_S)
        self._lines.step(f"the file as it is carries {carries:.0f} webhooks/s here")
        peak = self.profile.peak * self.profile.copies
        return round(min(1.0, SHARE * carries / peak), 3)

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

    def before_switch(self, lead_s: float) -> None:
        """Wait for the middle of the next peak, or for soon after its begin if it is long."""
        aim = min(self.profile.peak_s / 2, INTO_PEAK_S)
        time.sleep(self.profile.until_peak(time.time() - self.began + lead_s - aim))

    def after(self, step: str) -> None:
        """The profile alone says how much is sent."""

    def turn_to(self, backend: Backend) -> None:
        """Not possible: locust's users keep their host."""
        raise NotImplementedError("locust's users keep their host")

    def counted(self) -> str:
        """Nothing: the deliveries are in the senders' processes."""
        return ""

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
                path.with_suffix(".log").read_text(encoding="utf-8", errors="replace")[-800:]
                for path in self.ledgers
            )
            raise Broken(f"the load ended before the phases did: {logs}")
        if self.profile.background:
            must_have_written(self._stage.base / "background.jsonl")

    def counts(self) -> dict[str, Any]:
        """What locust counted: `requests`, `failed`, and the `errors` as texts."""
        found: dict[str, Any] = json.loads(self._counts.read_text(encoding="utf-8"))
        return found

    def kill(self) -> None:
        """End what still runs, whatever is under way."""
        for process in self._processes:
            if process.poll() is None:
                kill_group(process)
