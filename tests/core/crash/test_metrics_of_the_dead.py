"""What processes that are gone left in the metrics' files is not reported as if it were so now."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DIES = "import os; from app.db.common import metrics; metrics.DEGRADED.set(1); metrics.APPLIED.inc(5); os._exit(9)"
SCRAPES = """
import sys
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from app.db.common import metrics
if sys.argv[1] == "start":
    metrics.begin()
else:
    metrics.DEGRADED.set(0)
    metrics.forget_the_dead()
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""
WAITS = "import sys; from app.db.common import metrics; metrics.DEGRADED.set(1); print(flush=True); sys.stdin.read()"


def run(folder: Path, code: str, *arguments: str, fails: bool = False) -> str:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": str(ROOT / "backend")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    assert fails == bool(done.returncode), done.stderr
    return done.stdout


def value(text: str, name: str) -> float:
    found = [
        float(line.split()[-1]) for line in text.splitlines() if line.split(" ")[0].split("{")[0] == name
    ]
    return max(found, default=0.0)


def test_the_gauge_of_a_dead_process_does_not_speak_and_its_counter_does(tmp_path: Path) -> None:
    run(tmp_path, DIES, fails=True)
    text = run(tmp_path, SCRAPES, "scrape")
    assert value(text, "st_degraded") == 0
    assert value(text, "st_applied_changes_total") == 5


def test_a_start_with_nobody_alive_begins_anew(tmp_path: Path) -> None:
    run(tmp_path, DIES, fails=True)
    text = run(tmp_path, SCRAPES, "start")
    assert value(text, "st_degraded") == 0
    assert value(text, "st_applied_changes_total") == 0


def test_a_process_that_lives_goes_on_speaking(tmp_path: Path) -> None:
    run(tmp_path, DIES, fails=True)
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "PYTHONPATH": str(ROOT / "backend"),
    }
    with subprocess.Popen(
        [sys.executable, "-c", WAITS],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as sibling:
        assert sibling.stdout and sibling.stdout.readline()
        text = run(tmp_path, SCRAPES, "start")
        sibling.kill()
    assert value(text, "st_degraded") == 1
    assert value(text, "st_applied_changes_total") == 5
