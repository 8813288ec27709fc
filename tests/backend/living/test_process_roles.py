"""One scheduler acts at a time, another takes over when it dies, and work waits in the database."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, select

from app.core.config import Role, Settings
from app.core.time_utils import utc_now
from app.db.common.settings import ShimSettings
from app.db.session.runtime import make_runtime
from app.models import Order, StrategyDeployment, StrategyDeploymentJob
from app.retention.run import Retention, RunResult
from app.roles import capacity, leader
from app.roles.leader import AdvisoryLock, FileLock, Leadership, Lock, lock_for
from app.roles.scheduler import Scheduler, Task, is_due, retention
from app.services.deployments.jobs import enqueue_job
from loadtests.stage.embedded import EmbeddedPostgres, free_port
from tests.backend.living.conftest import Store
from tests.backend.living.rows import NOW, add_user
from tests.support.pairs import wait_until

ROOT = Path(__file__).resolve().parents[3]
LIVING = ROOT / "docs" / "living.md"
LEADS = "this process is the scheduler now"


class Process:
    """A role in a process of its own; `log` is what it has written."""

    def __init__(self, folder: Path, url: str, *arguments: str) -> None:
        self._file = (folder / f"{arguments[0]}-{os.urandom(4).hex()}.log").open("w+")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ST_")} | {
            "ST_DATABASE_URL": url,
            "ST_ENABLE_DEPLOYMENTS_RUNTIME": "yes",
            "ST_ENVIRONMENT": "prod",
            "ST_CRYPTO_KEY": "key-of-a-test",
            "ST_ADMIN_PASSWORD": "password-of-a-test",
            "ST_TRADINGVIEW_WEBHOOK_SECRET": "secret-of-a-test",
            "PYTHONPATH": str(ROOT / "backend"),
        }
        command = [sys.executable, "-m", "app.run", *arguments]
        self.process = subprocess.Popen(
            command, env=environment, stdout=self._file, stderr=self._file, cwd=folder
        )

    @property
    def log(self) -> str:
        return Path(self._file.name).read_text(encoding="utf-8")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()


@contextmanager
def running(folder: Path, url: str, *arguments: str) -> Iterator[Process]:
    process = Process(folder, url, *arguments)
    try:
        yield process
    finally:
        process.close()


def _stranded(store: Store) -> int:
    """An AUTO order whose dispatch never ended; its id."""
    then = utc_now() - timedelta(minutes=10)
    with store.sessions() as db:
        order = Order(
            symbol="X", side="BUY", qty=1, status="WAITING", mode="AUTO", client_order_id=os.urandom(8).hex(),
            created_at=then, updated_at=then,
        )  # fmt: skip
        db.add(order)
        db.commit()
        return order.id


def _url(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


def _leads(port: int) -> str:
    """What Prometheus is told about the lead."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return re.findall(r"^st_scheduler_leads (\S+)$", text, re.MULTILINE)[0]


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_another_scheduler_takes_over_when_the_first_is_killed(store: Store, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(running(tmp_path, _url(store), "scheduler"))
        wait_until(lambda: LEADS in first.log, seconds=60)
        port = free_port()
        arguments = ("scheduler", "--metrics", f"127.0.0.1:{port}")
        second = stack.enter_context(running(tmp_path, _url(store), *arguments))
        wait_until(lambda: "the scheduler has begun" in second.log, seconds=60)
        assert LEADS not in second.log
        assert _leads(port) == "0.0"
        first.end(signal.SIGKILL)
        order_id = _stranded(store)
        wait_until(lambda: LEADS in second.log, seconds=60)

        def moved() -> bool:
            with store.sessions() as db:
                return db.get_one(Order, order_id).mode == "MANUAL"

        wait_until(moved, seconds=60)
        assert _leads(port) == "1.0"
        assert second.end() == 0


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_a_job_waits_for_a_worker_that_is_started_later(store: Store, tmp_path: Path) -> None:
    with store.sessions() as db:
        user = add_user(db)
        deployment = StrategyDeployment(
            owner_id=user, name="d", kind="STRATEGY", enabled=True, symbol="X", exchange="NSE", timeframe="5m",
            config_json="{}",
        )  # fmt: skip
        db.add(deployment)
        db.flush()
        enqueue_job(
            db, deployment_id=deployment.id, owner_id=user, kind="BAR_CLOSED", dedupe_key="k",
            scheduled_for=NOW, payload={},
        )  # fmt: skip
        db.commit()

    def done() -> bool:
        with store.sessions() as db:
            return list(db.scalars(select(StrategyDeploymentJob.status))) == ["DONE"]

    with running(tmp_path, _url(store), "worker") as worker:
        wait_until(done, seconds=60)
        assert LEADS not in worker.log
        assert worker.end() == 0


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("role", "leads"), [("all", True), ("web", False)])
def test_who_answers_requests_and_who_leads(
    role: str, leads: bool, store: Store, few_files: int, tmp_path: Path
) -> None:
    port = free_port()
    with running(tmp_path, _url(store), role, "--port", str(port)) as process:

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_until(answers, seconds=60)
        if leads:
            wait_until(lambda: LEADS in process.log, seconds=60)
        limits = Path(f"/proc/{process.process.pid}/limits").read_text(encoding="utf-8")
        (allowed,) = re.findall(r"^Max open files +(\d+)", limits, re.MULTILINE)
        assert int(allowed) == few_files  # 128 would end a burst of 200 senders
        assert process.end() in (0, -signal.SIGTERM)
        assert (LEADS in process.log) is leads


@pytest.fixture(params=["file", "advisory"])
def two_locks(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: EmbeddedPostgres
) -> Iterator[tuple[Lock, Lock]]:
    def make() -> Lock:
        if request.param == "file":
            return FileLock(tmp_path / "lock")
        return AdvisoryLock(make_url(postgres_server.url()), ShimSettings())

    locks = make(), make()
    yield locks
    for lock in locks:
        lock.let_go()


def test_a_lock_has_one_holder(two_locks: tuple[Lock, Lock]) -> None:
    first, second = two_locks
    assert (first.take(), second.take(), first.take()) == (True, False, True)
    first.let_go()
    assert (second.take(), first.take()) == (True, False)


def test_a_holder_whose_session_ended_notices(postgres_server: EmbeddedPostgres) -> None:
    url = make_url(postgres_server.url())
    first, second = AdvisoryLock(url, ShimSettings()), AdvisoryLock(url, ShimSettings())
    try:
        assert first.take()
        with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE application_name = 'sigmatrader-scheduler'"
            )
        assert second.take()
        assert not first.take()
    finally:
        first.let_go()
        second.let_go()


def test_the_server_takes_the_lock_from_a_holder_that_is_silent(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert leader.BELIEF_S < leader.SILENCE_S
    monkeypatch.setattr(leader, "SILENCE_S", 1)
    url = make_url(postgres_server.url())
    frozen, waiting = AdvisoryLock(url, ShimSettings()), AdvisoryLock(url, ShimSettings())
    try:
        assert frozen.take()
        assert not waiting.take()
        wait_until(waiting.take, seconds=60)
        assert not frozen.take()
    finally:
        frozen.let_go()
        waiting.let_go()


def test_the_lock_fits_the_databases(tmp_path: Path, postgres_server: EmbeddedPostgres) -> None:
    sqlite, postgres = f"sqlite:///{tmp_path / 'a.db'}", postgres_server.url()
    alone, paired = ShimSettings(), ShimSettings(shadow_database_url=sqlite)
    assert isinstance(lock_for(make_runtime(sqlite, alone)), FileLock)
    assert isinstance(lock_for(make_runtime(postgres, alone)), AdvisoryLock)
    assert isinstance(lock_for(make_runtime(postgres, paired)), FileLock)


class _Switch:
    """A lock that a test gives and takes."""

    def __init__(self) -> None:
        self.free = False

    def take(self) -> bool:
        return self.free

    def let_go(self) -> None:
        pass


@pytest.mark.parametrize("error", [RuntimeError("first turn"), TimeoutError()], ids=["says", "silent"])
def test_tasks_run_only_while_the_process_leads_and_survive_errors(error: Exception) -> None:
    lock, runs, failed = _Switch(), threading.Semaphore(0), threading.Event()

    def work() -> None:
        runs.release()
        if not failed.is_set():
            failed.set()
            raise error

    scheduler = Scheduler(Leadership(lock, beat_s=0.01), [Task("t", 0.0, work)], tick_s=0.01)
    scheduler.start()
    try:
        assert not runs.acquire(timeout=0.2)
        lock.free = True
        assert runs.acquire(timeout=60)
        assert runs.acquire(timeout=60)
    finally:
        scheduler.stop()


def test_retention_is_due_by_what_the_last_run_noted(tmp_path: Path) -> None:
    settings = Settings(retention_every_h=24)
    note = tmp_path / "status.json"

    def due(hours: float, **last: object) -> bool:
        finished = NOW - timedelta(hours=hours)
        content = {"finished": finished.isoformat(), "error": None, "stopped": False, **last}
        note.write_text(json.dumps(content))
        return is_due(tmp_path, settings, NOW)

    assert is_due(tmp_path, settings, NOW)
    assert (due(23), due(25)) == (False, True)
    assert (due(0.5, error="x"), due(2, error="x"), due(2, stopped=True)) == (False, True, True)


def test_a_run_that_failed_is_not_repeated_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk nothing in the folder says when the last one was."""
    runs: list[RunResult] = []

    def failing(_self: Retention) -> RunResult:
        runs.append(RunResult(started="", error="No space left on device"))
        return runs[-1]

    monkeypatch.setattr(Retention, "run", failing)
    settings = Settings(_env_file=None, retention=True, retention_dir=str(tmp_path))  # type: ignore[call-arg]  # pydantic's own
    task = retention(lambda: None, settings, lambda: None)  # type: ignore[arg-type, return-value]  # no database is asked
    for _ in range(2):
        task.run()
    assert len(runs) == 1


def test_more_connections_than_there_are_is_refused(postgres_server: EmbeddedPostgres) -> None:
    url = postgres_server.create_database("narrow")
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute("ALTER DATABASE narrow CONNECTION LIMIT 50")
    fits = make_runtime(url, ShimSettings(pg_pool_size=20))
    try:
        assert capacity.refusal(fits, 1) is None
        assert "2 processes may open 82 connections, and PostgreSQL grants 50" in (
            capacity.refusal(fits, 2) or ""
        )
    finally:
        fits.stop()
        postgres_server.drop_database("narrow")


def test_nobody_counts_connections_of_a_pooler_or_a_server_that_is_away(tmp_path: Path) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    assert capacity.refusal(make_runtime(away, ShimSettings()), 1000) is None
    assert capacity.refusal(make_runtime(f"sqlite:///{tmp_path / 'x.db'}", ShimSettings()), 1000) is None


def test_every_role_has_a_pool_size() -> None:
    assert set(capacity.POOL_SIZES) == set(Role)


def test_the_table_of_limits_says_the_defaults() -> None:
    rows = re.findall(
        r"^\| (.*?) \| `(ST_\w+)` \| ([\d]+) \|", LIVING.read_text(encoding="utf-8"), re.MULTILINE
    )
    defaults = Settings(_env_file=None).model_dump() | ShimSettings(_env_file=None).model_dump()
    sizes = {"a web process": Role.WEB, "of a worker": Role.WORKER, "of a scheduler": Role.SCHEDULER}
    assert len(rows) > 7
    for about, name, told in rows:
        role = next((role for words, role in sizes.items() if words in about), None)
        wanted = capacity.POOL_SIZES[role] if role else defaults[name.removeprefix("ST_").lower()]
        assert int(told) == wanted, about
