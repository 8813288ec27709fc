"""Commands and the webhook at named moments: a command may stop the switch before the fence, and nothing after it."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.db.common.errors import ConfigurationError
from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import ShimSettings
from app.db.session.at_start import switch_at_start
from app.db.session.runtime import make_runtime
from app.db.switch.moments import Moment, Moments, _telling, tell_in_background
from tests.operator.sides import Sides, assert_no_secret
from tests.support.pairs import wait_until

AtStage = Callable[[str], Sides]
NOTES = """
import json, os, sys
with open(sys.argv[1], "a") as notes:
    notes.write(json.dumps(dict(os.environ)) + "\\n")
sys.exit(int(sys.argv[2]))
"""


class Noted:
    """A command that notes what it was given, and how often it ran."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        (folder / "note.py").write_text(NOTES, encoding="utf-8")

    def at(self, *moments: Moment, code: int = 0) -> None:
        for moment in moments:
            words = [sys.executable, str(self._folder / "note.py"), str(self._folder / moment), str(code)]
            self._monkeypatch.setenv(f"ST_HOOK_{moment.upper().replace('-', '_')}", shlex.join(words))

    def of(self, moment: Moment) -> list[dict[str, str]]:
        file = self._folder / moment
        return (
            [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            if file.exists()
            else []
        )


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Noted:
    return Noted(tmp_path, monkeypatch)


def test_a_command_that_fails_before_the_fence_stops_the_switch(at_stage: AtStage, noted: Noted) -> None:
    sides = at_stage("verified")
    noted.at(Moment.BEFORE_FENCE, code=7)
    noted.at(Moment.ON_ABORT, Moment.AFTER_PROMOTE)
    answer = sides.run("cutover")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert "before-fence ended with 7" in answer.data["message"]
    assert sides.writable("sqlite") and not sides.writable("postgres")
    assert not sides.postgres(
        "SELECT 1 FROM st_history WHERE event LIKE 'switch to%'"
    )  # no attempt was begun
    assert "before-fence ended with 7" in noted.of(Moment.ON_ABORT)[0]["ST_FACT_REASON"]
    assert not noted.of(Moment.AFTER_PROMOTE)


def test_a_command_that_fails_afterwards_changes_nothing(
    at_stage: AtStage, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ST_SHADOW_DATABASE_URL", at_stage("fresh").url)
    sides = at_stage("verified")
    noted.at(Moment.BEFORE_FENCE)
    noted.at(Moment.AFTER_PROMOTE, code=3)
    answer = sides.run("cutover")
    assert answer.outcome == "moved"
    assert "after-promote ended with 3" in answer.err
    (facts,) = noted.of(Moment.AFTER_PROMOTE)
    assert (facts["ST_FACT_PRIMARY"], facts["ST_FACT_EPOCH"]) == ("postgres", str(answer.data["epoch"]))
    assert json.loads(facts["ST_FACTS"])["moment"] == "after-promote"
    assert len(noted.of(Moment.BEFORE_FENCE)) == 1
    assert_no_secret(json.dumps(facts))  # our settings are not handed on
    assert not [name for name in facts if name.startswith("ST_") and not name.startswith("ST_FACT")]


def test_a_rollback_is_told_like_a_cutover(at_stage: AtStage, noted: Noted) -> None:
    sides = at_stage("moved")
    noted.at(Moment.BEFORE_FENCE, Moment.AFTER_PROMOTE, Moment.ON_ABORT)
    answer = sides.run("rollback")
    assert answer.outcome == "moved"
    ((before,), (after,)) = noted.of(Moment.BEFORE_FENCE), noted.of(Moment.AFTER_PROMOTE)
    assert (before["ST_FACT_TO"], before["ST_FACT_EPOCH"]) == ("sqlite", str(answer.data["epoch"] - 1))
    assert (after["ST_FACT_PRIMARY"], after["ST_FACT_EPOCH"]) == ("sqlite", str(answer.data["epoch"]))
    assert not noted.of(Moment.ON_ABORT)


def _past_the_fence(sides: Sides, side: str, statement: str) -> None:
    """Write on a shadow as nobody should."""
    if side == "postgres":
        sides.postgres(f"BEGIN; SET LOCAL st.applying = '1'; {statement}; COMMIT")
        return
    connection = sqlite3.connect(sides.path)
    around = "UPDATE st_control SET applying = {}"
    connection.executescript(f"BEGIN; {around.format(1)}; {statement}; {around.format(0)}; COMMIT")
    connection.close()


@pytest.mark.parametrize(
    ("stage", "verb", "to"), [("verified", "cutover", "postgres"), ("moved", "rollback", "sqlite")]
)
def test_a_switch_that_finds_a_difference_is_told_once_as_aborted(
    at_stage: AtStage, noted: Noted, stage: str, verb: str, to: str
) -> None:
    sides = at_stage(stage)
    noted.at(*Moment)
    write = sides.sqlite if to == "postgres" else sides.postgres
    with (
        arm(Failpoint.SWITCH_BEGUN, lambda: write("UPDATE alerts SET qty = 5 WHERE id = 1") and None),
        arm(
            Failpoint.SWITCH_DRAINED,
            lambda: _past_the_fence(sides, to, "UPDATE alerts SET qty = 6 WHERE id = 1"),
        ),
    ):
        assert sides.run(verb).outcome == "aborted"
    assert [moment for moment in Moment if noted.of(moment)] == [
        Moment.BEFORE_FENCE, Moment.ON_ABORT, Moment.ON_MISMATCH,
    ]  # fmt: skip
    ((aborted,), (differing,)) = noted.of(Moment.ON_ABORT), noted.of(Moment.ON_MISMATCH)
    assert aborted["ST_FACT_TO"] == to and aborted["ST_FACT_PAUSE_MS"]
    assert (differing["ST_FACT_MISMATCHES"], differing["ST_FACT_FOUND_BY"]) == ("1", "switch")


def test_a_switch_that_ends_with_an_error_is_told_as_unknown(at_stage: AtStage, noted: Noted) -> None:
    sides = at_stage("verified")
    noted.at(*Moment)
    with arm(Failpoint.SWITCH_FENCED, "raise"):
        assert sides.run("cutover").code == 3
    assert [moment for moment in Moment if noted.of(moment)] == [Moment.BEFORE_FENCE, Moment.ON_UNKNOWN]
    assert noted.of(Moment.ON_UNKNOWN)[0]["ST_FACT_REASON"] == "FailpointError"


@pytest.mark.parametrize("says", [0, 7])
def test_a_start_with_auto_asks_and_tells_too(
    at_stage: AtStage, noted: Noted, caplog: pytest.LogCaptureFixture, says: int
) -> None:
    sides = at_stage("verified")
    noted.at(*Moment)
    noted.at(Moment.BEFORE_FENCE, code=says)
    settings = ShimSettings(shadow_database_url=f"sqlite:///{sides.path}", cutover="auto")
    backend = make_runtime(sides.url, settings)
    try:
        assert switch_at_start(backend) is (says == 0)
    finally:
        backend.stop()
    assert sides.writable("postgres") is (says == 0)
    after = Moment.AFTER_PROMOTE if says == 0 else Moment.ON_ABORT
    assert [moment for moment in Moment if noted.of(moment)] == [Moment.BEFORE_FENCE, after]
    assert ("before-fence ended with 7" in caplog.text) is (says == 7)


def test_gates_that_are_closed_run_no_command(at_stage: AtStage, noted: Noted) -> None:
    sides = at_stage("copied")
    noted.at(*Moment)
    assert sides.run("cutover").data["error"] == "Refused"
    assert not [moment for moment in Moment if noted.of(moment)]


def test_each_verb_tells_what_it_did(at_stage: AtStage, noted: Noted) -> None:
    sides = at_stage("prepared")
    noted.at(*Moment)
    for words in (("backfill",), ("verify",), ("cutover",), ("complete", "--yes")):
        assert sides.run(*words).code == 0, words
    told = [moment for moment in Moment if noted.of(moment)]
    assert told == [
        Moment.BEFORE_FENCE, Moment.AFTER_PROMOTE, Moment.AFTER_COPY, Moment.AFTER_VERIFY, Moment.AFTER_COMPLETE,
    ]  # fmt: skip


@pytest.mark.parametrize("words", [("run", "--cutover"), ("copy",)])
def test_verbs_that_do_several_steps_tell_of_each(
    at_stage: AtStage, noted: Noted, words: tuple[str, ...]
) -> None:
    sides = at_stage("fresh")
    noted.at(*Moment)
    assert sides.run(*words).outcome == "moved"
    told = [Moment.BEFORE_FENCE, Moment.AFTER_PROMOTE, Moment.AFTER_COPY, Moment.AFTER_VERIFY]
    told += [Moment.AFTER_COMPLETE] if words == ("copy",) else []
    assert [moment for moment in Moment if noted.of(moment)] == told
    assert all(len(noted.of(moment)) == 1 for moment in told)
    assert noted.of(Moment.AFTER_COPY)[0]["ST_FACT_ROWS"] == noted.of(Moment.AFTER_VERIFY)[0]["ST_FACT_ROWS"]


def test_a_mismatch_is_told(at_stage: AtStage, noted: Noted) -> None:
    sides = at_stage("copied")
    sides.postgres("BEGIN; SET LOCAL st.applying = '1'; DELETE FROM alerts WHERE id = 9; COMMIT")
    noted.at(Moment.ON_MISMATCH)
    assert sides.run("verify").outcome == "mismatch"
    assert noted.of(Moment.ON_MISMATCH)[0]["ST_FACT_MISMATCHES"] == "1"


def test_values_reach_a_command_as_values(tmp_path: Path, noted: Noted) -> None:
    noted.at(Moment.ON_ABORT)
    hostile = f"$(touch {tmp_path}/x); `touch {tmp_path}/x` \0 'q' \"\n"
    settings = ShimSettings()
    Moments(settings, pytest.fail).tell(Moment.ON_ABORT, reason=hostile)
    assert noted.of(Moment.ON_ABORT)[0]["ST_FACT_REASON"] == hostile.replace("\0", "")
    assert not (tmp_path / "x").exists()


def test_a_command_ends_in_time_with_all_that_it_started(tmp_path: Path) -> None:
    script = tmp_path / "slow.sh"
    script.write_text(f"sleep 600 & echo $! > {tmp_path}/child; wait\n")
    said: list[str] = []
    settings = ShimSettings(hook_on_abort=f"sh {script}", hook_timeout_s=1.0)
    Moments(settings, said.append).tell(Moment.ON_ABORT)
    assert said == ["the command of on-abort did not end within 1 s"]
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    wait_until(lambda: _is_gone(child))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("kill -9 $$", "was ended by SIGKILL"),
        ("yes | head -c 100000000; echo the end; exit 4", "ended with 4: the end"),
        ("setsid sleep 3 & echo no; exit 5", "ended with 5: no"),
    ],
)
def test_how_a_command_ended_is_said(script: str, why: str) -> None:
    said: list[str] = []
    settings = ShimSettings(hook_on_abort=shlex.join(["sh", "-c", script]), hook_timeout_s=60)
    Moments(settings, said.append).tell(Moment.ON_ABORT)
    assert said == [f"the command of on-abort {why}"]


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.mark.parametrize("command", ["/nonexistent/program", "'unclosed"])
def test_a_command_that_cannot_run_stops_the_switch_too(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    sides = at_stage("verified")
    monkeypatch.setenv("ST_HOOK_BEFORE_FENCE", command)
    assert sides.run("cutover").code in (1, 2)
    assert sides.writable("sqlite")


class _Receiver(BaseHTTPRequestHandler):
    got: list[dict[str, Any]]
    hold: threading.Event
    status = 200

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.hold.wait(30)
        self.send_response(self.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[_Receiver]]]:
    """A server that keeps what it is told, and holds its answers while `hold` is clear."""
    handler = type("Receiver", (_Receiver,), {"got": [], "hold": threading.Event()})
    handler.hold.set()
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hooks/s3cret", handler
    handler.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_webhook_is_told_the_same(
    at_stage: AtStage, receiver: tuple[str, type[_Receiver]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = receiver
    sides = at_stage("verified")
    monkeypatch.setenv("ST_HOOK_WEBHOOK_URL", url)
    answer = sides.run("cutover")
    assert [told["moment"] for told in got.got] == ["before-fence", "after-promote"]
    assert got.got[1]["pause_ms"] == round(answer.data["pause_ms"])


@pytest.mark.parametrize("status", [500, 307])
def test_a_webhook_that_fails_stops_nothing_and_shows_no_secret(
    at_stage: AtStage, receiver: tuple[str, type[_Receiver]], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    url, got = receiver
    got.status = status
    sides = at_stage("verified")
    monkeypatch.setenv("ST_HOOK_WEBHOOK_URL", url)
    answer = sides.run("cutover")
    assert answer.outcome == "moved"
    assert f"the webhook at 127.0.0.1 was not told of before-fence: it answered {status}" in answer.err
    assert len(got.got) == 2  # a redirect is not followed
    assert "s3cret" not in answer.err + json.dumps(answer.data)


def test_a_webhook_that_never_answers_is_given_up(receiver: tuple[str, type[_Receiver]]) -> None:
    url, got = receiver
    got.hold.clear()
    said: list[str] = []
    Moments(ShimSettings(hook_webhook_url=url, hook_timeout_s=0.2), said.append).tell(Moment.ON_ABORT)
    assert len(said) == 1


@pytest.mark.parametrize(
    "url", ["http://hooks.example/s3cret", "file:///s3cret", "s3cret", "https://[s3cret"]
)
def test_a_webhook_beyond_this_host_is_encrypted(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Moments(ShimSettings(hook_webhook_url=url))
    assert "s3cret" not in str(refused.value)


def test_a_backend_that_degrades_tells_without_waiting(tmp_path: Path, noted: Noted) -> None:
    noted.at(Moment.ON_DEGRADED)
    tell_in_background(ShimSettings(), pytest.fail, Moment.ON_DEGRADED, reason="the shadow is slow")
    wait_until(lambda: noted.of(Moment.ON_DEGRADED), seconds=60)
    assert noted.of(Moment.ON_DEGRADED)[0]["ST_FACT_REASON"] == "the shadow is slow"


def test_a_moment_that_comes_too_early_to_be_told_is_named() -> None:
    said: list[str] = []
    settings = ShimSettings(hook_webhook_url="http://127.0.0.1:9/", hook_timeout_s=60)
    with _telling:  # as while an earlier one is told
        tell_in_background(settings, said.append, Moment.ON_DEGRADED, reason="second")
    assert said == ["nobody was told of on-degraded: an earlier one is being told"]
