"""`throttle` reaches work that runs: a copy in two processes and a verify, slower and faster, without a restart."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from migration.verbs.cli import main
from tests.operator.cli.test_processes import finished, started, until
from tests.operator.sides import Sides

AtStage = Callable[[str], Sides]


def test_a_running_copy_goes_faster_and_its_verify_slower(at_stage: AtStage) -> None:
    sides = at_stage("prepared")
    with started(sides, "run", "--rate", "1", "--workers", "2") as process:  # minutes, as it was told
        until(lambda: sides.postgres("SELECT 1 FROM st_copy_range WHERE done AND rows > 0") != [])
        assert sides.run("throttle", "--verify-rate", "1").outcome == "throttled"
        assert sides.postgres("SELECT 1 FROM st_control WHERE phase = 'copying'") == [(1,)]
        answer = sides.run("throttle", "--copy-rate", "1000000")
        assert (answer.data["copy_rate"], answer.data["verify_rate"]) == (1_000_000, 1)
        until(lambda: sides.postgres("SELECT 1 FROM st_verify_progress WHERE tbl = 'alert_events'") != [])
        status = sides.run("status").data
        assert status["throttle"] == {"copy_rate": 1_000_000, "verify_rate": 1}
        assert (status["moving"]["stage"], process.poll()) == ("verify", None)
        assert sides.run("throttle", "--off").outcome == "lifted"
        ended = finished(process)
        assert ended.outcome == "ready", ended.data


def test_limits_are_shown_recorded_and_kept_to_sense(
    at_stage: AtStage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert at_stage("fresh").run("throttle", "--copy-rate", "5").data["error"] == "NotPrepared"
    sides = at_stage("prepared")
    for bad in ("0", "-3", "2000000000", "many", "nan"):
        answer = sides.run("throttle", f"--copy-rate={bad}")
        assert (answer.code, "--copy-rate" in answer.data["message"]) == (2, True)
    assert sides.run("throttle", "--off", "--verify-rate", "5").data["error"] == "ConfigurationError"
    sides.postgres("DROP TABLE st_throttle")  # as an earlier version left the pair
    assert sides.run("throttle", "--off").outcome == "already_lifted"
    assert sides.run("status").data["throttle"] is None
    for outcome in ("throttled", "already_throttled"):
        assert sides.run("throttle", "--verify-rate", "70").outcome == outcome
    answer = sides.run("throttle")
    assert (answer.outcome, answer.data["copy_rate"], answer.data["verify_rate"]) == ("limits", None, 70)
    assert main(["status", "--sqlite", str(sides.path), "--postgres", sides.url]) == 0
    assert "throttle: verify rate 70\n" in capsys.readouterr().out
    answer = sides.run("throttle", "--copy-rate", "9", "--dry-run")
    assert (answer.outcome, answer.data["copy_rate"], answer.data["verify_rate"]) == ("limits", 9, 70)
    assert sides.run("throttle").data["copy_rate"] is None
    sides.run("cutover", "--dry-run")
    recorded = [event["event"] for event in sides.run("history").data["events"]]
    assert recorded.count("command throttle") == 4  # what only looks is no part of the history
    assert "command cutover" not in recorded
