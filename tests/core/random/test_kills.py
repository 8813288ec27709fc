"""The short form of the soak: three full runs under random kill -9, one of them with real shells."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from loadtests.stage.processes import REPO, python_env

RUNS = os.environ.get("SOAK_RUNS", "1")
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.randrange(10**6)


@pytest.mark.timeout(600)
def test_full_runs_survive_random_kills() -> None:
    print(f"SOAK_SEED={SEED}")
    command = [
        sys.executable,
        "-m",
        "tests.core.random.kills",
        "--runs",
        RUNS,
        "--cold-every",
        "3",
        "--seed",
        str(SEED),
    ]
    done = subprocess.run(command, env=python_env({}), cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"SOAK_SEED={SEED}\n{done.stdout}{done.stderr[-3000:]}"
    *runs, total = map(json.loads, done.stdout.splitlines())
    assert total["kills"] > 0
    for run in runs:
        assert run["operations"]["ok"] > 50, run
