"""Applications that know nothing of the move: a worker as a service, and a switch around their restart."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app.db.apply.round import Applier
from app.db.common.errors import FileReplaced
from app.db.common.urls import Pair, connect_arguments, parse_url
from app.db.sides.stores import Stores
from app.db.switch.state import readiness
from loadtests.stage.embedded import free_port
from migration.common import sides
from tests.operator.anyapp.conftest import Stranger
from tests.support.pairs import wait_until


@contextmanager
def _service(app: Stranger, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The worker as an init system starts it."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "migration", "worker"),
                *("--sqlite", str(app.path), "--postgres", app.url, *options),
            ],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def test_a_worker_waits_for_prepare_and_ends_with_complete(
    stranger: Callable[..., Stranger], tmp_path: Path
) -> None:
    app = stranger()
    log = tmp_path / "log"
    address = f"127.0.0.1:{free_port()}"

    def shown() -> set[str]:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            return set(answer.read().decode().splitlines())

    with _service(app, log, "--metrics", address) as process:
        wait_until(lambda: b"waiting for st-migrate prepare" in log.read_bytes(), seconds=60)
        assert 'st_apply_state{state="unknown"} 1.0' in shown()
        app.done("prepare", "--schema", "existing")
        app.done("backfill")
        wait_until(lambda: 'st_phase{phase="replicating"} 1.0' in shown(), seconds=60)
        assert {'st_primary{side="sqlite"} 1.0', "st_writable_sides 1.0", "st_epoch 1.0"} <= shown()
        for taken in (address, "127.0.0.1"):
            refused = app.run("worker", "--metrics", taken)
            assert (refused.code, taken in refused.data["message"]) == (2, True)
        app.lite("INSERT INTO role VALUES (3, 'guest')")
        wait_until(lambda: app.pg("SELECT count(*) FROM role") == [(3,)], seconds=60)
        app.done("verify")
        app.done("cutover")
        app.done("complete", "--yes")
        assert process.wait(timeout=60) == 0
    with _service(app, log) as again:  # restarted by hand: nothing is left to do
        assert again.wait(timeout=60) == 0


@pytest.fixture
def ready(stranger: Callable[..., Stranger]) -> Stranger:
    app = stranger()
    for verb in (["prepare", "--schema", "existing"], ["backfill"], ["verify"]):
        app.done(*verb)
    return app


def test_a_file_that_replaced_the_other_is_not_opened_for_the_history(
    ready: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program would take in the -wal that the former file left."""
    opened: list[object] = []
    real = sides.open_stores

    def replaced(applier: Applier, **options: object) -> None:
        opened.clear()
        raise FileReplaced("it was replaced", hint="put it back")

    def counted(pair: Pair) -> Stores:
        opened.append(pair)
        return real(pair)

    monkeypatch.setattr(Applier, "round", replaced)
    monkeypatch.setattr(sides, "open_stores", counted)
    assert ready.run("worker", "--until-drained").data["error"] == "FileReplaced"
    assert opened == []


def test_the_application_is_stopped_and_started_around_the_switch(ready: Stranger, tmp_path: Path) -> None:
    told = tmp_path / "told"
    note = f'echo "$ST_PRIMARY" "$ST_DATABASE_URL" >> {told}'
    answer = ready.done("cutover", "--stop", note, "--start", note)
    assert answer.outcome == "moved"
    assert answer.data["away_s"] > 0
    assert "the application was away for" in answer.data["message"]
    stopped, started = told.read_text(encoding="utf-8").splitlines()
    assert stopped == f"sqlite sqlite:///{ready.path}"
    assert started.startswith("postgres postgresql://")


def test_nothing_is_stopped_for_a_switch_that_a_gate_refuses(
    stranger: Callable[..., Stranger], tmp_path: Path
) -> None:
    app = stranger()
    app.done("prepare", "--schema", "existing")
    app.done("backfill")  # and no verify
    answer = app.run("cutover", "--stop", f"touch {tmp_path}/stopped", "--start", "true")
    assert answer.code == 1
    assert not (tmp_path / "stopped").exists()


def test_an_application_that_does_not_stop_is_started_and_not_switched(
    ready: Stranger, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    answer = ready.run("cutover", "--stop", "exit 3", "--start", f'echo "$ST_PRIMARY" > {told}')
    assert (answer.code, answer.data["message"]) == (
        1,
        "the application was not stopped: `exit 3` ended with 3",
    )
    assert told.read_text(encoding="utf-8") == "sqlite\n"
    assert ready.done("status").data["primary"] == "sqlite"


def test_an_application_that_does_not_start_is_told_with_its_side(ready: Stranger) -> None:
    answer = ready.run("cutover", "--stop", "true", "--start", "exit 4")
    assert answer.code == 3
    assert "postgres is primary, and the application was not started" in answer.data["message"]


def test_a_reader_that_keeps_the_shadow_behind_is_named_with_what_ends_it(
    ready: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rollback foreign keys of PostgreSQL are dropped again, for which nobody may read their tables."""
    monkeypatch.setattr(readiness, "BEHIND_S", 0.0)
    ready.done("cutover")
    with psycopg.connect(
        **connect_arguments(parse_url(ready.url, name="url")) | {"application_name": "report"}
    ) as reader:
        reader.execute("SELECT count(*) FROM role")
        ready.done("rollback")
        ready.lite("INSERT INTO role VALUES (20, 'late')")
        told = next(text for text in ready.done("status").data["blocks"] if "behind" in text)
        pid = reader.info.backend_pid
        assert f"pid {pid} (report, idle in transaction) since " in told and "pg_terminate_backend" in told
    ready.done("worker", "--until-drained")
    assert ready.pg("SELECT name FROM role WHERE id = 20") == [("late",)]
