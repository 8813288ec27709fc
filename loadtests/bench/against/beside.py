"""Beside: copy, verify, commits and apply of another checkout and of this one, in turns in one run.

Each turn is a process with a PostgreSQL server of its own (beside_child.py). With --before, the other checkout takes
the first place of every second turn. Without it this checkout is measured beside itself: that is the noise.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from loadtests.bench.lab.lab import Lab, rotated
from loadtests.bench.lab.samples import Part, Samples
from loadtests.show.headline import BEFORE, NOW
from loadtests.stage.processes import REPO, python_env

CHILD = Path(__file__).with_name("beside_child.py")
# What is compared. Of the rest a few samples say little: the tails, and the peak of memory.
KEPT = {"time", "speed", "commits", "time per row"}


def run(lab: Lab) -> Part:
    """Every figure that both checkouts have."""
    part = Part("beside", "This code beside that of another checkout")
    checkouts = [(BEFORE, lab.before or REPO), (NOW, REPO)]
    groups: dict[str, Samples] = {}
    for turn in range(lab.sizes.turns):
        lab.say(f"beside: turn {turn + 1}")
        found = {name: _measured(lab, checkout) for name, checkout in rotated(checkouts, turn)}
        for key in found[BEFORE].keys() & found[NOW].keys():
            group, who, quantity, unit = key
            samples = groups.setdefault(f"{group}: {who}", Samples(f"{group}: {who}", BEFORE))
            for name, _ in checkouts:
                samples.add(name, quantity, unit, found[name][key])
    part.figures += [figure for _, samples in sorted(groups.items()) for figure in samples.figures()]
    return part


def _measured(lab: Lab, checkout: Path) -> dict[tuple[str, str, str, str], float]:
    """Each figure of one turn: by its group, contender, quantity and unit."""
    sizes = lab.sizes
    threads = sizes.threads if sizes.turns > 1 else ()  # one turn is only to see that the parts run
    asked = {
        "candles": sizes.beside_rows, "backlog": sizes.beside_rows, "capture_rows": sizes.capture_rows,
        "commits": sizes.commits // 2, "threads": threads, "burst": 0, "repeats": 1, "long_repeats": 1,
        "sample": False, "growth": (),
    }  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", str(CHILD), json.dumps(asked), str(lab.seed)],
        env=python_env({}, checkout), cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if answer.returncode:
        raise RuntimeError(f"the benchmark of {checkout} failed: {answer.stderr[-2000:]}")
    figures: list[dict[str, Any]] = json.loads(answer.stdout.splitlines()[-1])
    return {
        (figure["group"], figure["name"], figure["quantity"], figure["unit"]): figure["value"]["median"]
        for figure in figures
        if figure["quantity"] in KEPT
    }
