"""A database is locked, away or silent while requests arrive: each is answered or refused in time.

The application here is a bare one: it has no handler of its own, and gets everything from one line.
"""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest
from fastapi import BackgroundTasks, FastAPI
from sqlalchemy import text

from app.db.common import deadline
from app.db.common.errors import PrimaryUnavailable
from app.db.common.settings import DualWrite, ShimSettings
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.session.application import http
from loadtests.stage.embedded import EmbeddedPostgres
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair, wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

LOCKED_S = 2.5  # within which a sender hears that it has to come again
AWAY_S = 3.0  # TradingView gives up after that

both_ways = pytest.mark.parametrize("mode", [DualWrite.SYNC, DualWrite.STRICT])


def _write(name: str) -> None:
    with SessionLocal() as session:
        session.add(Owner(name=name))
        session.commit()


def _bare() -> FastAPI:
    app = FastAPI()

    @app.post("/write/{name}")
    def write(name: str) -> str:
        _write(name)
        return name

    @app.get("/read")
    def read() -> int:
        with SessionLocal() as session:
            return int(session.execute(text("SELECT count(*) FROM owner")).scalar_one())

    @app.post("/later/{name}")
    def later(name: str, tasks: BackgroundTasks) -> str:
        tasks.add_task(_write, name)
        return name

    return app


BUDGET_MS = 1_700  # less than the default, so that a busy machine meets the limits too


def test_the_default_budget_leaves_time_to_answer() -> None:
    assert ShimSettings(_env_file=None).request_deadline_ms + 200 <= LOCKED_S * 1000


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The bare application with the line `install(app)`; no start, no stop: the runtime is the test's."""
    monkeypatch.setattr(http, "shim_settings", lambda: ShimSettings(request_deadline_ms=BUDGET_MS))
    app = _bare()
    http.install(app)
    return TestClient(app, raise_server_exceptions=False)


def _refused_in_time(call: Callable[[], Any], limit: float) -> None:
    started = time.monotonic()
    answer = call()
    took = time.monotonic() - started
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "2"), answer.text
    assert took < limit


@contextmanager
def _locked(pair: TestPair, side: Side) -> Iterator[None]:
    """Another process holds the file's write lock, or the table's."""
    if side is Side.SQLITE:
        other: Any = sqlite3.connect(pair.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = pair.new_pg()
        other.execute("BEGIN; LOCK TABLE owner IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def _names(pair: TestPair, side: Side) -> set[str]:
    return {row[0] for row in pair.app(side).execute("SELECT name FROM owner").fetchall()}


@both_ways
def test_a_lock_that_others_hold_is_a_refusal_in_time(
    pair: TestPair, primary: Side, mode: DualWrite, backend: MakeRuntime, client: TestClient
) -> None:
    backend(pair, wanted=primary, dual_write=mode)
    assert client.post("/write/before").status_code == 200
    with _locked(pair, primary):
        _refused_in_time(lambda: client.post("/write/refused"), LOCKED_S)
        if primary is Side.POSTGRES:
            _refused_in_time(lambda: client.get("/read"), LOCKED_S)
    assert client.post("/write/after").status_code == 200
    assert "refused" not in _names(pair, primary)
    wait_until(lambda: "after" in _names(pair, primary.other))


def test_a_locked_shadow_in_strict_mode_is_a_refusal_in_time(
    pair: TestPair, primary: Side, backend: MakeRuntime, client: TestClient
) -> None:
    backend(pair, wanted=primary, dual_write="strict")
    assert client.post("/write/before").status_code == 200
    with _locked(pair, primary.other):
        _refused_in_time(lambda: client.post("/write/refused"), LOCKED_S)
    wait_until(lambda: client.post("/write/after").status_code == 200)
    assert "refused" not in _names(pair, primary)


def test_a_lock_in_single_mode(fresh: TestPair, backend: MakeRuntime, client: TestClient) -> None:
    backend(fresh, shadow=False)
    with _locked(fresh, Side.SQLITE):
        _refused_in_time(lambda: client.post("/write/refused"), LOCKED_S)
    assert client.post("/write/after").status_code == 200


def test_no_connection_left_is_a_refusal_in_time(
    promoted: TestPair, backend: MakeRuntime, client: TestClient
) -> None:
    current = backend(promoted, wanted=Side.POSTGRES, dual_write="off", pg_pool_size=1)
    engine = current.engine(Side.POSTGRES)
    with engine.connect(), engine.connect():
        _refused_in_time(lambda: client.get("/read"), LOCKED_S)
    assert client.get("/read").status_code == 200


def _frozen(server: EmbeddedPostgres) -> list[psutil.Process]:
    """The server's processes, which stand still from now on. The one that starts others goes first."""
    postmaster = psutil.Process(server.pid)
    postmaster.suspend()
    found = [postmaster]
    for process in postmaster.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            found.append(process)
    return found


@pytest.mark.parametrize("how", ["frozen", "stopped"])
def test_postgres_is_away_while_requests_arrive(
    victim: TestPair, mortal: EmbeddedPostgres, backend: MakeRuntime, client: TestClient, how: str
) -> None:
    victim.moved(Side.POSTGRES)
    backend(victim, wanted=Side.POSTGRES)
    assert client.post("/write/before").status_code == 200
    frozen = _frozen(mortal) if how == "frozen" else []
    if how == "stopped":
        mortal.stop(signal.SIGINT)
    try:
        for call in (client.post, client.post):
            _refused_in_time(lambda call=call: call("/write/refused"), AWAY_S)
        _refused_in_time(lambda: client.get("/read"), AWAY_S)
    finally:
        for process in frozen:
            process.resume()
    if how == "stopped":
        victim.forget_pg()
        mortal.start()
    wait_until(lambda: client.post("/write/after").status_code == 200)


@pytest.mark.parametrize("how", ["frozen", "stopped"])
@pytest.mark.parametrize("mode", list(DualWrite))
def test_a_shadow_that_is_away_keeps_no_request_too_long(
    victim: TestPair,
    mortal: EmbeddedPostgres,
    backend: MakeRuntime,
    client: TestClient,
    mode: DualWrite,
    how: str,
) -> None:
    """SQLite serves; only strict mode refuses."""
    backend(victim, dual_write=mode, dual_write_timeout_ms=500)
    assert client.post("/write/before").status_code == 200
    frozen = _frozen(mortal) if how == "frozen" else []
    if how == "stopped":
        mortal.stop(signal.SIGINT)
    try:
        for n in range(3):
            started = time.monotonic()
            answer = client.post(f"/write/away{n}")
            assert time.monotonic() - started < AWAY_S
            assert answer.status_code == (503 if mode is DualWrite.STRICT else 200)
    finally:
        for process in frozen:
            process.resume()
        if how == "stopped":
            victim.forget_pg()
            mortal.start()


def _fence(pair: TestPair, side: Side, *, up: bool) -> None:
    pair.app(side).execute(f"UPDATE st_control SET writable = {'false' if up else 'true'}")


@pytest.mark.parametrize("installed", [True, False])
def test_a_fence_beyond_its_limit_is_503_with_and_without_the_line(
    pair: TestPair, primary: Side, backend: MakeRuntime, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    monkeypatch.setattr(deadline, "_known", threading.Event())
    backend(pair, wanted=primary, dual_write="off", cutover_hold_ms=200, background_hold_ms=60_000)
    app = _bare()
    if installed:
        http.install(app)
    client = TestClient(app, raise_server_exceptions=False)
    _fence(pair, primary, up=True)
    _refused_in_time(lambda: client.post("/write/refused"), LOCKED_S)
    _fence(pair, primary, up=False)
    assert client.post("/write/after").status_code == 200


def test_work_outside_of_requests_is_held_longer(
    pair: TestPair, primary: Side, backend: MakeRuntime, client: TestClient
) -> None:
    """A thread without any error handling lives through a fence that requests are refused at."""
    backend(pair, wanted=primary, dual_write="off", cutover_hold_ms=100, background_hold_ms=60_000)
    _fence(pair, primary, up=True)
    died: list[BaseException] = []

    def work() -> None:
        try:
            _write("background")
        except BaseException as error:
            died.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    _refused_in_time(lambda: client.post("/write/refused"), LOCKED_S)
    assert thread.is_alive()
    _fence(pair, primary, up=False)
    thread.join(30)
    assert died == []
    assert "background" in _names(pair, primary)


def test_what_runs_after_the_answer_is_not_bound_by_the_request(
    pair: TestPair, primary: Side, backend: MakeRuntime, client: TestClient
) -> None:
    backend(pair, wanted=primary, dual_write="off", cutover_hold_ms=100, background_hold_ms=60_000)
    _fence(pair, primary, up=True)
    threading.Timer(0.5, lambda: _fence_elsewhere(pair, primary)).start()
    assert client.post("/later/task").status_code == 200  # the client of these tests waits for the task, too
    assert "task" in _names(pair, primary)


def _fence_elsewhere(pair: TestPair, side: Side) -> None:
    connection = pair.new_lite() if side is Side.SQLITE else pair.new_pg()
    connection.execute("UPDATE st_control SET writable = true")


def test_the_limit_outside_of_requests_is_a_limit(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    backend(pair, wanted=primary, dual_write="off", cutover_hold_ms=0, background_hold_ms=150)
    _fence(pair, primary, up=True)
    with pytest.raises(PrimaryUnavailable, match="send the request again") as refused:
        _write("refused")
    assert refused.value.status_code == 503
    assert refused.value.headers == {"Retry-After": "2"}
