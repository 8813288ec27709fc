"""The sender processes of a burst: they get ready before its moment, end by themselves, and are killed if they do not."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.burst.send.plan import Burst
from loadtests.stage.processes import kill_group, python_env
from loadtests.traffic.sender import RESENDS, TIMEOUT_S

PER_PROCESS = 5_000  # deliveries of one sender process
PREPARE_S = 1.0  # until a sender has made its messages, and some more for each thousand
PREPARE_PER_THOUSAND_S = 0.3


@dataclass
class Senders:
    """The sender processes of one burst."""

    processes: list[subprocess.Popen[bytes]]
    ledgers: list[Path]
    done: list[Path]
    until: float

    @property
    def running(self) -> bool:
        """Whether one of them has not ended."""
        return any(process.poll() is None for process in self.processes)

    def failed(self) -> int:
        """How many ended wrongly; those that run longer than they can are killed and count."""
        for process in self.processes:
            if process.poll() is None:
                kill_group(process)
        return sum(
            process.returncode != 0 or not done.exists()
            for process, done in zip(self.processes, self.done, strict=True)
        )

    def told(self) -> list[dict[str, float]]:
        """What each told of itself."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in self.done if path.exists()]


def longest_s(burst: Burst, resend_delay_s: float) -> float:
    """The longest that a sender can take: every attempt without an answer or refused at the last moment."""
    return burst.within_s + (RESENDS + 1) * (TIMEOUT_S + resend_delay_s) + 10


def prepare_s(count: int) -> float:
    """How long the senders are given to make their messages."""
    return PREPARE_S + count * PREPARE_PER_THOUSAND_S / 1000 + 1


@contextmanager
def senders(
    base: Path,
    port: int,
    burst: Burst,
    run: str,
    began: float,
    resend_delay_s: float,
    *,
    resend_cut: bool = False,
) -> Iterator[Senders]:
    """Start the senders of a burst; those that still run are killed at the end.

    `resend_cut`: whether a delivery is sent again whose connection ended before the answer.
    """
    count = math.ceil(burst.count / PER_PROCESS)
    found = Senders([], [], [], began + longest_s(burst, resend_delay_s))
    with (base / "sender.log").open("ab") as log:
        for number in range(count):
            ledger, done = base / f"{run}.{number}.jsonl", base / f"{run}.{number}.done"
            ledger.touch()
            found.ledgers.append(ledger)
            found.done.append(done)
            options = {
                "port": port, "at": began, "count": burst.count, "within": burst.within_s, "auto": burst.auto,
                "seed": burst.seed, "run": run, "number": number, "processes": count,
                "source": (int(began) * 8 + number) % 200, "resend-delay": resend_delay_s, "ledger": ledger, "done": done,
            }  # fmt: skip
            words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            words += ["--resend-cut"] if resend_cut else []
            found.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "loadtests.burst.send.sender", *words],
                    env=python_env({}),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
    try:
        yield found
    finally:
        for process in found.processes:
            if process.poll() is None:
                kill_group(process)
