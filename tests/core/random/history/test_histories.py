"""A short history under random trouble, and the proof that its judge can find something."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys

import pytest

from app.db.common.settings import DualWrite
from loadtests.stage.processes import REPO, python_env
from tests.core.modes.chosen import ALL
from tests.core.random.history.judge import START, State, judge
from tests.core.random.history.ledger import Op, Outcome

SEED = int(os.environ.get("HISTORY_SEED", "0")) or random.randrange(10**6)
SECONDS = os.environ.get("HISTORY_SECONDS", "10")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", list(DualWrite) if ALL else ["drawn"])
def test_every_acknowledged_effect_is_there_once(mode: str) -> None:
    print(f"HISTORY_SEED={SEED}")
    command = [
        sys.executable,
        "-m",
        "tests.core.random.history.run",
        "--seconds",
        SECONDS,
        "--seed",
        str(SEED),
        *([] if mode == "drawn" else ["--mode", mode]),
    ]
    done = subprocess.run(command, env=python_env({}), cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"HISTORY_SEED={SEED}\n{done.stdout}{done.stderr[-3000:]}"
    told = json.loads(done.stdout)
    assert told["switches"] >= 2
    assert told["operations"]["ok"] > 50


OPS = [
    Op("insert", "a", "c", {"n": 1.0}, Outcome.OK),
    Op("insert", "b", "c", {"n": 2.0}, Outcome.OK),
    Op("delete", "c", "c", {"of": "b"}, Outcome.OK),
    Op("undone", "d", "c", {}, Outcome.REFUSED),
    Op("append", "c.1", "c", {"list": "L0"}, Outcome.OK),
    Op("append", "c.2", "c", {"list": "L0"}, Outcome.UNKNOWN),
    Op("transfer", "e", "c", {}, Outcome.OK),
    Op("count", "f", "c", {"counter": "CTR0"}, Outcome.OK),
]


def _right() -> State:
    return {
        "alerts": [(1, "a", 1.0)],
        "orders": [(1, 1, "a", 1.0)],
        "positions": [("ACC0", START + 5), ("ACC1", START - 5), ("ACC2", START), ("ACC3", START), ("CTR0", 1.0)],
        "transfers": [(1, "e", "0,1,5")],
        "lists": [("L0", "c.1,c.2,")],
    }  # fmt: skip


def test_the_judge_accepts_what_is_right() -> None:
    verdict = judge(OPS, {"sqlite": _right(), "postgres": _right()})
    assert verdict.findings == []
    assert verdict.counts == {"ok": 6, "refused": 1, "unknown": 1}


@pytest.mark.parametrize(
    ("table", "rows", "word"),
    [
        ("alerts", [], "lost"),
        ("alerts", [(1, "a", 1.0), (2, "a", 1.0)], "doubled"),
        ("alerts", [(1, "a", 1.5)], "different"),
        ("alerts", [(1, "a", 1.0), (2, "b", 2.0)], "refused but stored"),
        ("alerts", [(1, "a", 1.0), (2, "d", 2.0)], "refused but stored"),
        ("alerts", [(1, "a", 1.0), (2, "z", 2.0)], "nobody inserted"),
        ("orders", [], "half"),
        ("orders", [(1, 7, "a", 1.0)], "has parent"),
        ("lists", [("L0", "c.2,")], "lost"),
        ("lists", [("L0", "c.1,c.2,c.2,")], "doubled"),
        ("lists", [("L0", "c.2,c.1,")], "out of order"),
        ("transfers", [], "lost"),
        ("positions", [("ACC0", START + 4), ("ACC1", START - 5), ("ACC2", START), ("ACC3", START)], "balances"),
        ("positions", [("CTR0", 0.0)], "lost: CTR0"),
        ("positions", [("CTR0", 2.0)], "doubled: CTR0"),
    ],
)  # fmt: skip
def test_the_judge_finds_what_is_wrong(table: str, rows: list[tuple[object, ...]], word: str) -> None:
    wrong = copy.deepcopy(_right())
    wrong[table] = rows
    findings = judge(OPS, {"sqlite": _right(), "postgres": wrong}).findings
    assert any(word in finding and finding.startswith("postgres") for finding in findings), findings
    assert f"{table} differs" in findings
