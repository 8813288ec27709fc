"""The history tells every command and refusal, with its caller, and outlives PostgreSQL, a kill and the move."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.db.sides.phase import os_user
from migration.common.trail import _SECRET, Recorded, file_events, trail_of
from migration.verbs.cli import main
from tests.operator.sides import PASSWORD, Sides

AtStage = Callable[[str], Sides]


def commands(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Command and outcome of each event that is a command."""
    found = [event for event in events if event["event"].startswith("command ")]
    return [(event["event"].removeprefix("command "), event["evidence"]["outcome"]) for event in found]


def test_history_outlives_the_move_with_caller_refusals_and_pauses(
    at_stage: AtStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ST_CALLED_BY", "CHANGE-7 password=hunter2")
    sides = at_stage("moved")
    assert sides.run("cutover").outcome == "already_primary"
    for verb in ("pause", "resume"):
        assert sides.run(verb).code == 0
    sides.postgres("DELETE FROM st_verify")
    assert sides.run("complete", "--yes").outcome == "error"
    assert sides.run("verify").code == 0
    during = sides.run("history").data
    assert sides.run("complete", "--yes").outcome == "completed"
    after = sides.run("history", "--export", str(tmp_path / "all.jsonl")).data
    assert after["events"][: len(during["events"])] == during["events"]
    assert commands(after["events"])[-6:] == [
        ("cutover", "already_primary"), ("pause", "paused"), ("resume", "resumed"), ("complete", "error"),
        ("verify", "clean"), ("complete", "completed"),
    ]  # fmt: skip
    assert "primary postgres" in [event["event"] for event in after["events"]]
    refused = next(e for e in after["events"] if e["evidence"].get("outcome") == "error")
    assert refused["evidence"]["user"] == os_user() and refused["evidence"]["reasons"]
    assert refused["evidence"]["line"].startswith("st-migrate complete --yes --sqlite")
    assert refused["evidence"]["called_by"] == "CHANGE-7 password=***"
    text = (tmp_path / "all.jsonl").read_text(encoding="utf-8") + trail_of(sides.path).read_text(
        encoding="utf-8"
    )
    assert "hunter2" not in text and PASSWORD not in text and PASSWORD[:8] not in text
    assert [
        json.loads(line)["event"]
        for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()
    ] == [event["event"] for event in after["events"]]
    assert sides.run("history", "--export", str(tmp_path / "all.jsonl")).code == 2


def test_history_without_postgres_names_a_killed_command_and_survives_a_torn_line(at_stage: AtStage) -> None:
    sides = at_stage("prepared")
    assert sides.run("pause").code == 0
    sides.url = sides.url.replace("127.0.0.1", "127.0.0.9")
    assert sides.run("resume").code != 0
    lines = trail_of(sides.path).read_text(encoding="utf-8").splitlines()
    trail_of(sides.path).write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:40])  # killed, the disk full
    assert sides.run("resume").code != 0
    found = sides.run("history").data
    assert commands(found["events"]) == [("pause", "paused"), ("resume", None), ("resume", "error")]
    assert found["missing"][0].startswith("PostgreSQL's history cannot be read")
    assert found["missing"][1:] == ["1 line of the file of the history cannot be read"]


def test_a_record_that_cannot_be_written_is_said_and_never_lost_by_complete(at_stage: AtStage) -> None:
    sides = at_stage("back")
    trail_of(sides.path).unlink(missing_ok=True)
    trail_of(sides.path).mkdir()
    answer = sides.run("pause")
    assert answer.outcome == "paused" and "is not recorded in" in answer.err
    answer = sides.run("complete", "--yes")
    assert answer.code == 3 and "the history cannot be kept" in answer.data["message"]
    assert ("pause", "paused") in commands(sides.run("history").data["events"])  # PostgreSQL has it still
    trail_of(sides.path).rmdir()
    assert sides.run("complete", "--yes").outcome == "completed"
    assert ("pause", "paused") in commands([e.as_json() for e in file_events(sides.path)[0]])
    assert trail_of(sides.path).stat().st_mode & 0o777 == sides.path.stat().st_mode & 0o666


@pytest.mark.parametrize("trouble", [psycopg.OperationalError("gone"), KeyboardInterrupt(), RuntimeError()])
def test_a_result_is_out_before_postgres_is_told_and_keeps_its_exit_code(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    printed: list[str] = []
    stdout = StringIO()

    def in_trouble(self: Recorded, stores: object, outcome: object) -> None:
        sys.stdout.flush()
        printed.append(stdout.getvalue())
        raise trouble

    sides = at_stage("prepared")
    monkeypatch.setattr(Recorded, "tell_postgres", in_trouble)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert main(["pause", "--sqlite", str(sides.path), "--postgres", sides.url]) == 0
    assert "paused" in printed[0]
    assert commands([e.as_json() for e in file_events(sides.path)[0]])[-1] == ("pause", "paused")


@pytest.mark.parametrize(
    "text",
    [
        "PGPASSWORD='hunter2 too' stop.sh", 'stop --api-key "hunter2"', "stop --token hunter2", "token=hunter2",
        '{"token": "hunter2"}', "Authorization: Bearer hunter2", "DB_PASSWORD=\"hunter2", "--password=hunter2",
    ],
)  # fmt: skip
def test_a_secret_is_not_kept_however_it_is_written(text: str) -> None:
    assert "hunter2" not in _SECRET.sub(r"\1***", text)
