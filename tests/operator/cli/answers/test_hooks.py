"""Commands and the webhook at named moments: a command may stop the switch before the fence, and nothing after it."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.db.common.errors import ConfigurationError
from app.db.common.settings import ShimSettings
from app.db.switch.moments import Moment, Moments, tell_in_background
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
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


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
    noted.at(Moment.BEFORE_FENCE)
    noted.at(Moment.AFTER_PROMOTE, code=3)
    answer = at_stage("verified").run("cutover")
    assert answer.outcome == "moved"
    assert "after-promote ended with 3" in answer.err
    (facts,) = noted.of(Moment.AFTER_PROMOTE)
    assert (facts["ST_FACT_PRIMARY"], facts["ST_FACT_EPOCH"]) == ("postgres", str(answer.data["epoch"]))
    assert json.loads(facts["ST_FACTS"])["moment"] == "after-promote"
    assert len(noted.of(Moment.BEFORE_FENCE)) == 1
    assert_no_secret(json.dumps(facts))  # our settings are not handed on
    assert not [name for name in facts if name.startswith("ST_") and not name.startswith("ST_FACT")]


def test_gates_that_are_closed_run_no_command(at_stage: AtStage, noted: Noted) -> None:
    noted.at(*Moment)
    assert at_stage("copied").run("cutover").data["error"] == "Refused"
    assert not [moment for moment in Moment if noted.of(moment)]


def test_each_verb_tells_what_it_did(at_stage: AtStage, noted: Noted) -> None:
    noted.at(*Moment)
    sides = at_stage("prepared")
    for words in (("backfill",), ("verify",), ("cutover",), ("complete", "--yes")):
        assert sides.run(*words).code == 0, words
    told = [moment for moment in Moment if noted.of(moment)]
    assert told == [
        Moment.BEFORE_FENCE, Moment.AFTER_PROMOTE, Moment.AFTER_COPY, Moment.AFTER_VERIFY, Moment.AFTER_COMPLETE,
    ]  # fmt: skip


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
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: _is_gone(child))


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
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
    monkeypatch.setenv("ST_HOOK_WEBHOOK_URL", url)
    answer = at_stage("verified").run("cutover")
    assert [told["moment"] for told in got.got] == ["before-fence", "after-promote"]
    assert got.got[1]["pause_ms"] == round(answer.data["pause_ms"])


def test_a_webhook_that_fails_stops_nothing_and_shows_no_secret(
    at_stage: AtStage, receiver: tuple[str, type[_Receiver]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = receiver
    got.status = 500
    monkeypatch.setenv("ST_HOOK_WEBHOOK_URL", url)
    answer = at_stage("verified").run("cutover")
    assert answer.outcome == "moved"
    assert "the webhook at 127.0.0.1 was not told of before-fence: it answered 500" in answer.err
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
