"""Commands that run while a burst is sent: backfill, verify or the switch, called as an operator calls it.

Backfill and verify are held to a rate, so that they last as long as the burst. A cutover is rehearsed there and
back; then it is called as much earlier as it takes to get to the switch, so that the switch falls into the burst.
"""

from __future__ import annotations

import subprocess
import time
from typing import Any

from loadtests.burst.send.plan import BACKFILL, CALM, CUTOVER
from loadtests.burst.world import CANDLES, World
from loadtests.judge.watch import Watch
from loadtests.stage.processes import Broken, kill_group

VERB_S = 8.0  # how long backfill and verify are made to last by their --rate
AHEAD_S = 2.0  # a command is called so long before the burst begins
AIM_S = 0.2  # a switch aims at the burst's first part: under load it comes later than in the rehearsal


def rehearse(world: World) -> float:
    """How long a cutover takes from its call to the switch; there and back, as an operator rehearses it."""
    watch = Watch(world.sqlite_path, world.conninfo, every_s=0.02)
    watch.start()
    try:
        called = time.time()
        epoch = int(world.migrate("cutover").data.get("epoch", 0))
        time.sleep(0.1)
        moment = watch.began(epoch)
        world.migrate("rollback")
        world.migrate("verify")
    finally:
        watch.stop()
    return moment - called if moment else 1.0


class Command:
    """The command that runs while the burst is sent; for a calm burst there is none.

    Args:
        world: whose command line is used.
        situation: which command.
        began: when the burst begins, in seconds since the epoch.
        lead_s: of a cutover: from its call to the switch.
    """

    def __init__(self, world: World, situation: str, began: float, lead_s: float) -> None:
        self.told: dict[str, Any] = {}
        self.failed = 0
        self._world = world
        self._situation = situation
        self._call_at = began + AIM_S - lead_s if situation == CUTOVER else began - AHEAD_S
        self._process: subprocess.Popen[str] | None = None
        self._called = 0.0
        self._ended = 0.0
        self._watch: Watch | None = None
        self._again = self._world.operator

    def __enter__(self) -> Command:
        if self._situation == CUTOVER:
            self._watch = Watch(self._world.sqlite_path, self._world.conninfo, every_s=0.02)
            self._watch.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None and self._process.poll() is None:
            kill_group(self._process)
        if self._watch:
            self._watch.stop()

    def look(self) -> None:
        """Call the command when it is time, and note when it has ended."""
        if self._situation == CALM:
            return
        if self._process is None and time.time() >= self._call_at:
            options = () if self._situation == CUTOVER else ("--rate", str(int(CANDLES / VERB_S)))
            self._called = time.time()
            self._process = self._again.begin(self._situation, *options)
        if self._process is not None and not self._ended and self._process.poll() is not None:
            self._ended = time.time()

    def finish(self, began: float) -> list[str]:
        """Wait for the command's end; what was wrong with it."""
        if self._situation == CALM:
            return []
        if self._process is None:
            self.failed = 1
            return [f"{self._situation} was never called"]
        try:
            out, errors = self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            raise Broken(f"st-migrate {self._situation} did not end") from None
        ended = self._ended or time.time()
        result = self._again.result(
            self._situation, self._process.returncode, out, errors, ended - self._called
        )
        self.told = {
            "what": self._situation,
            "from_s": self._called - began,
            "until_s": ended - began,
            "exit": result.exit,
            "pause_ms": result.data.get("pause_ms"),
        }
        problems = []
        if result.exit:
            self.failed = 1
            problems.append(f"st-migrate {self._situation} exited {result.exit}: {result.message}")
        if self._watch and result.data.get("epoch"):
            moment = self._watch.began(int(result.data["epoch"]))
            self.told["switch_s"] = None if moment is None else moment - began
        if self._situation == BACKFILL:
            self._world.migrate("verify")
        if not self._called - began < 1 or ended < began:
            problems.append(f"{self._situation} did not run while the burst was sent")
        return problems
