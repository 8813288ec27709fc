"""kill -9 at random moments of the demo, the same commands again: it finishes and nothing is lost.

Takes minutes of both cores, so it runs with `-m long` only. ST_ACCEPTANCE_SEED chooses another seed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.stage.processes import REPO, python_env

LIMIT_S = 570


@pytest.mark.long
@pytest.mark.timeout(LIMIT_S + 30)
def test_killed_at_random_moments_the_move_still_finishes_and_loses_nothing(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    seed = os.environ.get("ST_ACCEPTANCE_SEED", "1")
    demo = subprocess.run(
        [
            sys.executable,
            "-m",
            "loadtests.demo",
            "--quick",
            "--chaos",
            "--seed",
            seed,
            "--json",
            str(figures),
        ],
        cwd=REPO,
        env=python_env({}),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert demo.returncode == 0, demo.stdout[-6000:] + demo.stderr[-2000:]
    told = json.loads(figures.read_text(encoding="utf-8"))
    assert told["kills"] > 0
    assert told["webhooks"]["acknowledged"] > 0
    assert (told["webhooks"]["lost"], told["webhooks"]["doubled"], told["webhooks"]["different"]) == (0, 0, 0)
    assert told["mismatches"] == 0
