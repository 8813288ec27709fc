"""The command line as a process: environment, signals, two operators at once, kill -9."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app.db.common.failpoints import Failpoint
from migration.common.sides import find_pair, open_stores
from migration.switch import freeze
from tests.operator.sides import Answer, Sides, assert_no_secret

AtStage = Callable[[str], Sides]
ROOT = Path(__file__).resolve().parents[3]
WITHIN_S = 50.0


@contextmanager
def started(sides: Sides, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """One `st-migrate` process, with the sides in its environment."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("ST_", "PYTEST_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "migration", *arguments, "--json"],
        cwd=ROOT,
        env={
            **base,
            "ST_DATABASE_URL": f"sqlite:///{sides.path}",
            "ST_SHADOW_DATABASE_URL": sides.url,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def words_of(sides: Sides, *words: str) -> list[str]:
    """The command line of one call, with the sides as options."""
    return [
        sys.executable, "-m", "migration", *words, "--sqlite", str(sides.path), "--postgres", sides.url,
    ]  # fmt: skip


def finished(process: subprocess.Popen[str]) -> Answer:
    """Wait for its answer."""
    out, err = process.communicate(timeout=WITHIN_S * 2)
    assert_no_secret(out + err)
    return Answer(process.returncode, json.loads(out), err)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("module", ["migration", "st_migrate"])
def test_ctrl_c_while_python_imports_is_quiet(module: str, tmp_path: Path) -> None:
    interrupted = "import os, signal; os.kill(os.getpid(), signal.SIGINT); raise ImportError('went on')"
    (tmp_path / "typer.py").write_text(interrupted, encoding="utf-8")
    folders = os.pathsep.join([str(tmp_path), str(ROOT / "backend"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", module, "status"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": folders}, capture_output=True, text=True, timeout=WITHIN_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_sides_come_from_the_environment(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    with started(sides, "status") as process:
        answer = finished(process)
    assert (answer.code, answer.data["state"], answer.data["next"]) == (
        0,
        "replicating",
        "st-migrate cutover",
    )
    flipped = {"ST_DATABASE_URL": sides.url, "ST_SHADOW_DATABASE_URL": f"sqlite:///{sides.path}"}
    with started(sides, "status", **flipped) as process:
        assert finished(process).data["state"] == "replicating"
    with started(sides, "status", ST_SHADOW_DATABASE_URL="") as process:
        answer = finished(process)
    assert (answer.code, answer.data["error"]) == (2, "ConfigurationError")
    with started(sides, "status", ST_SHADOW_DATABASE_URL=f"sqlite:///{sides.path}") as process:
        answer = finished(process)
    assert (answer.code, "both database URLs name sqlite" in answer.data["message"]) == (2, True)


def test_modules_of_the_same_names_on_the_path_are_not_taken(tmp_path: Path) -> None:
    for name in ("app", "migration"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of another application')", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "st_migrate", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("st-migrate ")


def test_worker_follows_survives_an_outage_and_ends_on_sigterm(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    with started(sides, "worker") as process:
        sides.sqlite("UPDATE alerts SET qty = 41 WHERE id = 1")
        until(lambda: sides.postgres("SELECT qty FROM alerts WHERE id = 1") == [(41.0,)])
        ended = (  # between two rounds: what ends while a commit is answered is no outage
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'st-migrate' AND datname = current_database() AND state = 'idle'"
        )
        until(lambda: sides.postgres(ended) != [])
        sides.sqlite("UPDATE alerts SET qty = 42 WHERE id = 1")
        until(lambda: sides.postgres("SELECT qty FROM alerts WHERE id = 1") == [(42.0,)])
        process.send_signal(signal.SIGTERM)
        answer = finished(process)
    assert (answer.code, answer.outcome, answer.data["outages"]) == (0, "stopped", 1)
    assert "waiting for a database" in answer.err


def test_two_operators_cut_over_at_once(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    with started(sides, "cutover") as first, started(sides, "cutover") as second:
        answers = [finished(first), finished(second)]
    outcomes = sorted(answer.outcome for answer in answers)
    assert "moved" in outcomes
    assert outcomes[0] in ("already_primary", "error")
    assert [answer.code for answer in answers if answer.outcome == "error"] in ([], [1])
    found = sides.run("status").data
    assert (found["primary"], found["epoch"], found["attempt"]) == ("postgres", 2, None)


@pytest.mark.parametrize(
    "point, primary", [(Failpoint.SWITCH_FENCED, "sqlite"), (Failpoint.SWITCH_COMMITTED, "postgres")]
)
def test_a_cutover_killed_inside_the_fence_is_recovered(
    at_stage: AtStage, point: Failpoint, primary: str
) -> None:
    sides = at_stage("verified")
    with started(sides, "cutover", ST_FAILPOINTS=f"{point}=kill") as process:
        process.communicate(timeout=WITHIN_S)
        assert process.returncode == -signal.SIGKILL
    sides.postgres("UPDATE st_control SET attempt_deadline = 1 WHERE attempt IS NOT NULL")
    assert sides.run("recover").outcome == ("attempt_ended" if primary == "sqlite" else "followed")
    assert sides.run("recover").outcome == "nothing_to_do"
    assert sides.writable(primary)
    assert sides.run("cutover").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_cutover_that_is_told_to_end_lowers_the_fence_at_once(
    at_stage: AtStage, tmp_path: Path, number: signal.Signals
) -> None:
    """And also where somebody presses Ctrl-C again while the attempt is being ended."""
    sides = at_stage("verified")
    gate, ending = tmp_path / "go", tmp_path / "ending"
    points = f"{Failpoint.SWITCH_FENCED}=wait:{gate},{Failpoint.RECOVER_DECIDED}=wait:{ending}"
    with started(sides, "cutover", ST_FAILPOINTS=points) as process:
        until(gate.with_suffix(".reached").exists)
        process.send_signal(number)
        until(ending.with_suffix(".reached").exists)
        process.send_signal(signal.SIGINT)
        ending.touch()
        answer = finished(process)
    assert (answer.code, answer.data["message"]) == (3, "interrupted")
    assert sides.writable("sqlite") and sides.run("recover").outcome == "nothing_to_do"


@pytest.mark.parametrize(
    ("streams", "code"),
    [("2>&1 | true", 0), ("2>/dev/full", 0), ("<&- >&- 2>&-", 0), (">/dev/full", 3)],
    ids=["a reader that has gone", "a full disk for the log", "closed streams", "a full disk for the result"],
)
def test_output_that_nobody_takes_stops_no_work(at_stage: AtStage, streams: str, code: int) -> None:
    sides = at_stage("verified")
    command = shlex.join(words_of(sides, "cutover", "--json"))
    done = subprocess.run(
        ["bash", "-c", f"{command} {streams}; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S,
    )  # fmt: skip
    assert done.returncode == code
    assert sides.writable("postgres")
    assert ("the result cannot be printed: No space left on device" in done.stderr) is (code == 3)


def test_a_full_disk_is_no_wrong_file(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; exec {shlex.join(words_of(sides, 'status'))}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert (done.returncode, "full" in done.stderr, "make room" in done.stderr) == (3, True, True)


def test_watching_ends_with_its_reader(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    watching = subprocess.Popen(
        words_of(sides, "status", "--watch", "--every", "0.1"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert watching.stdout is not None
    assert watching.stdout.readline()
    watching.stdout.close()
    assert watching.wait(WITHIN_S) == 0


def test_an_offline_copy_killed_on_its_way_goes_on(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = at_stage("fresh")
    with started(sides, "copy", ST_FAILPOINTS=f"{Failpoint.COPY_INDEX}=kill") as process:
        process.communicate(timeout=WITHIN_S * 2)
        assert process.returncode == -signal.SIGKILL
    assert not sides.writable("sqlite")
    sides.postgres("UPDATE st_control SET attempt_deadline = 1")  # its lease has run out
    answer = sides.run("copy")
    assert (answer.code, answer.outcome) == (0, "moved")
    assert sides.writable("postgres") and not sides.writable("sqlite")


def test_the_copy_holds_writers_until_it_is_done(at_stage: AtStage, tmp_path: Path) -> None:
    sides = at_stage("fresh")
    gate = tmp_path / "go"
    with started(sides, "copy", ST_FAILPOINTS=f"{Failpoint.COPY_AFTER_COMMIT}=wait:{gate}") as process:
        until(gate.with_suffix(".reached").exists)
        assert not sides.writable("sqlite")
        with started(sides, "abort", "--yes", sides.database) as other:
            assert finished(other).data["error"] == "Refused"
        gate.touch()
        assert finished(process).outcome == "moved"


def test_a_copy_that_waits_keeps_its_freeze(at_stage: AtStage, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = at_stage("prepared")
    monkeypatch.setattr(freeze, "LEASE_S", 1.0)
    monkeypatch.setattr(freeze, "RENEW_S", 0.05)
    pair = find_pair(str(sides.path), sides.url)

    def deadlines() -> list[float]:
        statement = "SELECT attempt_deadline FROM st_control WHERE attempt IS NOT NULL"
        return [row[0] for row in sides.sqlite(statement) + sides.postgres(statement)]

    with open_stores(pair) as stores, freeze.frozen(stores, lambda: open_stores(pair)):
        begun = deadlines()
        until(lambda: all(now > then + 1.0 for now, then in zip(deadlines(), begun, strict=True)))
    assert deadlines() == []


def test_the_application_name_marks_our_own_writes(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    with started(sides, "worker") as process:
        until(lambda: _named(sides))
        process.send_signal(signal.SIGINT)
        assert finished(process).outcome == "stopped"


def _named(sides: Sides) -> bool:
    try:
        rows = sides.postgres("SELECT 1 FROM pg_stat_activity WHERE application_name = 'st-migrate'")
    except psycopg.OperationalError:
        return False
    return bool(rows)
