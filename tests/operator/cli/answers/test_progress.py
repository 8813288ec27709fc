"""Long work tells how far it is and how much time is left: as one line, as objects, and as a full screen."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from migration.common.pace import Pace, duration
from migration.common.render import Renderer
from migration.verbs.cli import main
from tests.operator.sides import Sides

AtStage = Callable[[str], Sides]


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_moments() -> None:
    clock = _Clock()
    pace = Pace(clock)
    assert pace.at(0, 1000).eta_seconds is None
    clock.now += 10
    assert (pace.at(100, 1000).rate, pace.at(100, 1000).eta_seconds) == (10, 90)
    for _ in range(200):
        clock.now += 1
        now = pace.at(100, 1000)
    assert (now.rate, now.eta_seconds) == (0, None)
    assert pace.at(1000, 1000).eta_seconds == 0


def test_work_that_begins_anew_has_no_rate_below_zero() -> None:
    clock = _Clock()
    pace = Pace(clock)
    pace.at(900, 1000)
    clock.now += 5
    assert pace.at(0, 1000).rate is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (3720, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_time_left_is_told_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_each_long_verb_tells_objects_with_the_time_left(
    at_stage: AtStage, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = at_stage("prepared")
    for verb in ("preflight", "backfill", "verify"):
        capsys.readouterr()
        main([verb, "--json", "--progress", "--sqlite", str(sides.path), "--postgres", sides.url])
        out, err = capsys.readouterr()
        assert json.loads(out)["command"] == verb
        told = [line for line in map(json.loads, err.splitlines()) if "progress" in line]
        assert told, verb
        assert set(told[0]) == {
            "progress", "at", "name", "unit", "done", "expected", "rate", "eta_seconds", "fraction",
        }  # fmt: skip
        assert told[-1]["expected"], verb


@pytest.mark.parametrize("words", [["cutover"], ["verify"], ["backfill", "--rate", "none"]])
def test_work_that_fails_tells_objects_and_its_result_last(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    sides = at_stage("copied")  # a cutover is refused: there is no verify

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("migration.verify.checking.verify", interrupted)
    both = io.StringIO()
    monkeypatch.setattr(sys, "stdout", both)
    monkeypatch.setattr(sys, "stderr", both)
    code = main(
        [*words, "--debug", "--json", "--progress", "--sqlite", str(sides.path), "--postgres", sides.url]
    )
    told = [json.loads(line) for line in both.getvalue().splitlines()]
    assert (told[-1]["command"], told[-1]["exit_code"]) == (words[0], code)
    assert code and told[-1]["message"] and not [line for line in told[:-1] if "command" in line]


def test_all_tables_together_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = Renderer(as_json=False)
    with renderer.progress("copy", expected=400) as advance:
        for table in ("a", "b", "c"):
            advance(table, 100, 100)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("copy a: 100 of 400 rows, 25%")


def test_the_watch_draws_in_place_and_ends_quietly(at_stage: AtStage) -> None:
    sides = at_stage("prepared")
    ours, theirs = pty.openpty()
    command = ["status", "--watch", "--every", "0.1", "--sqlite", str(sides.path), "--postgres", sides.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "migration", *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color"},
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    seen = b""
    try:
        deadline = time.monotonic() + 60
        while seen.count(b"next: ") < 3 and time.monotonic() < deadline:
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 65536)
        process.send_signal(2)
        while select.select([ours], [], [], 60)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:
                break
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    text = seen.decode(errors="replace")
    assert "\x1b[?1049h" in text and "\x1b[?1049l" in text  # the alternate screen, entered and left
    assert "st-migrate backfill" in text and "copying" in text
    assert "Traceback" not in text
