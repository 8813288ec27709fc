"""Random kill -9 over full runs: prepare to the third switch, each command repeated until it is done.

    python -m tests.core.random.kills --runs 200 --seed 1

Clients write all the while, through sessions and past them, and are killed, too. Half of the kills of a
command are placed by time, half at a failpoint. A run is good if every command finished by repeating it,
verify finds both sides equal, and the judge finds nothing lost, doubled or different. One JSON object per
run; exit code 1 if any was not good. A seed gives the same plan; when a kill by time lands is the machine's.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from app.db.common.failpoints import Failpoint
from loadtests.stage.embedded import EmbeddedPostgres
from tests.core.random.history.world import Ended, World, make_template

PLANS = (
    ("prepare", "backfill", "verify", "cutover", "rollback", "cutover"),
    ("run --cutover", "rollback", "cutover"),
)
POINTS = {
    "prepare": ("prepare.",),
    "backfill": ("copy.", "apply."),
    "verify": ("verify.", "apply."),
    "cutover": ("switch.", "apply."),
    "rollback": ("switch.", "apply."),
    "run --cutover": ("prepare.", "copy.", "verify.", "switch.", "apply."),
}
MOST_KILLS = 3
FINISH_S = 180.0
TYPICAL_S = {
    "prepare": 2.0,
    "backfill": 0.6,
    "verify": 0.6,
    "cutover": 0.5,
    "rollback": 0.5,
    "run --cutover": 3.0,
}
STARTING_S = 2.5  # of a process that has to import everything first


@dataclass
class Run:
    """What one run did and came to."""

    seed: int
    dual_write: str
    cold: bool
    kills: int = 0
    client_kills: int = 0
    repeats: int = 0
    seconds: float = 0.0
    operations: dict[str, int] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


class Killer:
    """One run.

    Args:
        world: where it takes place.
        run: what is written down.
    """

    def __init__(self, world: World, run: Run) -> None:
        self._world = world
        self._run = run
        self._draw = random.Random(run.seed)

    def go(self) -> None:
        """From an unprepared file to the third switch, and the judgement."""
        self._world.start_clients(self._run.seed)
        for step in self._draw.choice(PLANS):
            self._disturb(step)
            if self._draw.random() < 0.4:
                self._world.kill_clients()
                self._run.client_kills += 1
                self._world.start_clients(self._run.seed)
            self._finish(step)
        self._world.stop_clients()
        self._finish("worker --until-drained")
        self._finish("verify")
        verdict = self._world.judge()
        self._run.operations = dict(verdict.counts)
        self._run.findings += verdict.findings

    def _disturb(self, step: str) -> None:
        for _ in range(self._draw.randint(0, MOST_KILLS)):
            if self._draw.random() < 0.5:
                groups = POINTS[step]
                point = self._draw.choice([p for p in Failpoint if p.startswith(groups)])
                ended = self._call(step, arm=f"{point}=kill")
            else:
                most = TYPICAL_S[step] * 1.5 + (STARTING_S if self._run.cold else 0)
                ended = self._call(step, kill_after=self._draw.uniform(0.02, most))
            if ended.code == -9:
                self._run.kills += 1

    def _finish(self, step: str) -> None:
        deadline = time.monotonic() + FINISH_S
        while (ended := self._call(step)).code != 0:
            self._run.repeats += 1
            if time.monotonic() > deadline:
                raise AssertionError(f"{step} does not finish: {ended}")
            time.sleep(0.3)

    def _call(self, step: str, *, arm: str = "", kill_after: float | None = None) -> Ended:
        ended = self._world.call(*step.split(), arm=arm, kill_after=kill_after, cold=self._run.cold)
        if ended.code not in (0, -9):
            self._run.answers.append(f"{step}: {ended.code} {ended.message}")
        return ended


def one_run(template: Path, server: EmbeddedPostgres, seed: int, *, cold: bool) -> Run:
    """One run of a seed, in a directory of its own that is kept if something is found."""
    run = Run(seed, random.Random(seed).choice(("sync", "sync", "async", "strict")), cold)
    base = Path(tempfile.mkdtemp(prefix="st-kills-"))
    world = World(template, server, base, dual_write=run.dual_write)
    started = time.monotonic()
    try:
        Killer(world, run).go()
    except AssertionError as error:
        run.findings.append(str(error))
    finally:
        run.seconds = round(time.monotonic() - started, 1)
        world.close()
        if run.findings:
            run.findings.append(f"kept: {base}")
        else:
            shutil.rmtree(base)
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each later one adds 1")
    parser.add_argument("--hours", type=float, default=None, help="go on for so long instead of --runs")
    parser.add_argument(
        "--cold-every", type=int, default=5, help="every n-th run starts real shells; 0: none"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that everything started is ended
    until = time.monotonic() + (given.hours or 0) * 3600
    runs: list[Run] = []
    with (
        tempfile.TemporaryDirectory(prefix="st-kills-") as folder,
        EmbeddedPostgres(light=True) as server,
    ):
        template = Path(folder) / "template.db"
        make_template(template)
        while time.monotonic() < until if given.hours else len(runs) < given.runs:
            number = len(runs)
            cold = given.cold_every > 0 and number % given.cold_every == given.cold_every - 1
            runs.append(one_run(template, server, given.seed + number, cold=cold))
            print(json.dumps(asdict(runs[-1])), flush=True)
    bad = [run.seed for run in runs if run.findings]
    total = {
        "runs": len(runs),
        "kills": sum(run.kills + run.client_kills for run in runs),
        "operations": sum(sum(run.operations.values()) for run in runs),
        "bad_seeds": bad,
    }
    print(json.dumps(total))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
