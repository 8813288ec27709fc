"""The tables of the documents show the committed figures; `make load` chooses, publishes and judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests import load as command
from loadtests.show import published
from loadtests.show.summary import burst_table
from loadtests.stage.processes import REPO
from loadtests.traffic.profiles import PROFILES

MACHINE = {
    "processors": 2,
    "processor": "x",
    "memory_gb": 8,
    "python": "3",
    "sqlite": "3",
    "postgresql": "18",
}


def entry(name: str, *, held: bool = True, sent: int = 100) -> dict[str, Any]:
    return {
        "profile": name,
        "scale": 1.0,
        "peak_users": 20,
        "load_seconds": 50.0,
        "deliveries": {"deliveries": sent, "findings": 0, "failed": 0, "unknown": 0, "cut_off": 0},
        "answer_ms": {"p50": 10.0, "p99": 200.0},
        "lag_ms": {"p50": 0.0, "p99": 12.0},
        "switch": {"1. cutover": {"reported_ms": 41.0}},
        "checks": [{"what": "lag, p99", "held": held}],
        "held": held,
        "date": "2026-01-01",
        "command": "make load",
    }


def run(*entries: dict[str, Any], machine: dict[str, Any] = MACHINE) -> dict[str, Any]:
    return {"machine": machine, "date": "2026-01-01", "profiles": list(entries)}


def test_the_documents_show_the_committed_figures() -> None:
    for path, text in published.renewed(REPO / "docs", published.FIGURES).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python -m loadtests.show.published"


def test_bursts_show_the_middle_of_their_repeats(tmp_path: Path) -> None:
    def row(code: str, in_time: int, late: int, lost: int = 0) -> dict[str, Any]:
        answers = {
            "deliveries": 200, "in_time": in_time, "late": late, "unanswered": 1, "refused": 7, "p99": 40.0, "worst": 50.0
        }  # fmt: skip
        oracle = {"lost": lost, "doubled": 0}
        return {
            "name": "sync, 200",
            "code": code,
            "answers": answers,
            "oracle": oracle,
            "processor_ms_per_delivery": 0.5,
        }

    rows = [
        row("now", 100, 3),
        row("now", 120, 4, lost=1),
        row("now", 200, 5),
        {"name": "broken", "code": "now"},
    ]
    result = {"machine": MACHINE, "date": "2026-01-01", "command": "make burst", "bursts": rows}
    (tmp_path / "burst.json").write_text(json.dumps(result), encoding="utf-8")
    shown = burst_table(tmp_path)
    assert "| sync, 200 | now | 60 % | 40 | 50 | 7 | 5 | 1 | 0.50 |" in shown
    assert "broken" not in shown


def test_committed_runs_hold_every_bound_and_play_what_exists() -> None:
    for path in published.FIGURES.glob("load*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        names = [entry["profile"] for entry in result["profiles"]]
        assert len(set(names)) == len(names) and set(names) <= set(PROFILES)
        for played in result["profiles"]:
            assert played["held"] == (not played["problems"] and all(c["held"] for c in played["checks"]))
            assert played["seed"] == PROFILES[played["profile"]].seed
            bounds = {check["what"]: check["bound"] for check in played["checks"]}
            assert bounds["lag, p99"] == PROFILES[played["profile"]].bounds.lag_p99_ms


def test_tables_say_what_broke_and_what_is_missing(tmp_path: Path) -> None:
    assert "No figures" in published.capacity_table(tmp_path)
    assert "No figures" in published.load_table(tmp_path, "async")
    text = json.dumps(run(entry("steady"), entry("spike", held=False)))
    (tmp_path / "load.json").write_text(text, encoding="utf-8")
    table = published.load_table(tmp_path, "sync")
    assert "broken: lag, p99" in table
    assert "| steady | 1 | 100 | 0 | 0 | 10 / 200 | 41 | 0 / 12 | held |" in table
    assert (
        "| load | steady, 20 users at its peak | sync, during a whole move | 2 |"
        in published.capacity_table(tmp_path)
    )


def test_capacity_has_a_row_for_each_group_and_mode_of_the_benchmark(tmp_path: Path) -> None:
    figures = [
        {"group": group, "name": name, "quantity": quantity, "value": {"median": value}}
        for group in ("1 worker, 1 client", "4 workers, 32 clients")
        for name in ("PostgreSQL alone", "sync, SQLite primary")
        for quantity, value in (("deliveries", 50.0), ("p50", 7.0), ("p99", 9.0))
    ]
    part = {"figures": figures, "machine": MACHINE, "command": "c", "date": "2026-01-01"}
    (tmp_path / "webhook.json").write_text(json.dumps(part), encoding="utf-8")
    rows = [line for line in published.capacity_table(tmp_path).splitlines() if line.startswith("| bench")]
    assert len(rows) == 4
    assert all("| 50 | 7 / 9 |" in row for row in rows)


def test_a_later_run_takes_the_place_of_its_own_profiles_only() -> None:
    old = run(entry("steady", sent=1), entry("spike", sent=2))
    both = published.merged(old, run(entry("spike", sent=3)))
    assert [(e["profile"], e["deliveries"]["deliveries"]) for e in both["profiles"]] == [
        ("steady", 1),
        ("spike", 3),
    ]
    elsewhere = published.merged(old, run(entry("spike"), machine=MACHINE | {"processors": 8}))
    assert [e["profile"] for e in elsewhere["profiles"]] == ["spike"]


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        published.insert("no markers", "capacity", "table")


def test_what_is_played() -> None:
    def names(*options: str) -> list[str]:
        return [profile.name for profile in command.chosen(command.arguments(list(options)))]

    assert names() == [name for name, profile in PROFILES.items() if profile.ci]
    assert names("--quick") == ["market_open", "mixed"]
    assert names("--profile", "soak") == ["soak"]


@pytest.mark.parametrize(("held", "code"), [(True, 0), (False, 1)])
@pytest.mark.parametrize(
    ("options", "publishes"), [([], True), (["--quick"], False), (["--quick", "--publish"], True)]
)
def test_exit_code_and_publishing(
    held: bool,
    code: int,
    options: list[str],
    publishes: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        command,
        "play",
        lambda profile, *_: (
            entry(profile.name, held=held)
            | {"machine": MACHINE, "problems": [], "seconds": 1.0}
            | {"checks": [{"what": "lag, p99", "held": held, "measured": 60.0, "bound": 50.0, "unit": "ms"}]}
        ),
    )
    monkeypatch.setattr(command, "publish", lambda result, mode: told.append(mode))
    monkeypatch.setattr(command.burst, "main", lambda words: 0)  # bursts have tests of their own
    assert command.main([*options, "--out", str(tmp_path)]) == code
    assert told == (["sync"] if publishes else [])
    kept = json.loads((tmp_path / "load.json").read_text(encoding="utf-8"))
    assert "market_open" in [played["profile"] for played in kept["profiles"]]


def test_the_command_that_is_kept_can_be_given_again() -> None:
    line = command.command(
        command.arguments(["--profile", "mixed", "--dual-write", "async", "--scale", "0.5"])
    )
    assert line == 'make load ARGS="--profile mixed --dual-write async --scale 0.5"'
    assert command.command(command.arguments([])) == "make load"
