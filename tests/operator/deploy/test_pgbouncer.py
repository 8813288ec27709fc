"""A whole move through Debian's PgBouncer in transaction pooling, with our pgbouncer.ini and the documented roles.

In transaction pooling two statements of one client may run in two server sessions, unless a transaction
holds them together. Whatever the move left in a session would turn up in somebody else's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, select, text, update
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from app.db import Base
from app.db.common.settings import ShimSettings, shim_settings
from app.db.common.urls import Side
from app.db.session import runtime
from app.db.session.at_start import switch_at_start
from app.db.session.engines import make_engine
from app.models import StrategyDeployment, StrategyDeploymentJob, StrategyDeploymentLock, User
from app.roles.leader import AdvisoryLock
from app.services.deployments.jobs import enqueue_job
from app.services.deployments.worker import DeploymentWorker
from loadtests.stage.embedded import EmbeddedPostgres
from st_migrate import install
from tests.operator.deploy.conftest import Backend, Migrate, count_alerts, write_alert
from tests.operator.deploy.servers import pgbouncer
from tests.support.pairs import connect, wait_until
from tests.support.programs import find

pytestmark = pytest.mark.needs_program("pgbouncer")

# What a pooler's client may have left in the sessions it shares with others.
STATE = """
SELECT count(*) FILTER (WHERE name = 'default_transaction_read_only' AND setting <> 'off'),
       count(*) FILTER (WHERE name = 'synchronous_commit' AND setting <> 'on'),
       count(*) FILTER (WHERE name = 'TimeZone' AND setting <> 'UTC'),
       count(*) FILTER (WHERE name LIKE 'st.%' AND setting <> ''),
       (SELECT count(*) FROM pg_prepared_statements),
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
FROM pg_settings
"""


@pytest.fixture
def pooled(roles: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The owner's URL through the pooler, and the pooler's log."""
    monkeypatch.setenv("ST_PG_POOLER", "transaction")
    binary = find("pgbouncer")
    assert binary is not None
    with pgbouncer(binary, roles, ["sigma_owner"]) as (port, log):
        direct = roles.url("sigma", user="sigma_owner")
        yield direct.replace(f":{roles.port}/", f":{port}/"), log


class Traffic:
    """One alert after another through SessionLocal, until it is told to stop."""

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged = 0
        self.failed: list[BaseException] = []

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            try:
                write_alert(self._symbol)
                self.acknowledged += 1
            except Exception as error:  # whatever it is, the test looks at it
                self.failed.append(error)


def test_a_whole_move_through_a_transaction_pooler(
    pooled: tuple[str, Path], roles: EmbeddedPostgres, migrate: Migrate, backend: Backend
) -> None:
    url, log = pooled
    before = len(roles.log.read_text(encoding="utf-8"))
    assert migrate(url, "preflight").outcome == (0, "clean")
    assert migrate(url, "prepare").outcome == (0, "prepared")
    backend(url, dual_write="sync", pg_pooler="transaction", cutover_hold_ms=20_000)
    with Traffic("TRAFFIC") as traffic:
        assert migrate(url, "backfill", "--workers", "2").outcome == (0, "copied")
        assert migrate(url, "verify").outcome == (0, "clean")
        for verb in ("cutover", "rollback", "cutover"):
            assert migrate(url, verb, "--max-pause-ms", "20000").outcome == (0, "moved")
            assert migrate(url, "verify").outcome == (0, "clean")
    assert traffic.failed == []
    assert traffic.acknowledged > 0
    assert count_alerts("TRAFFIC") == traffic.acknowledged
    assert migrate(url, "worker", "--until-drained").outcome == (0, "drained")
    assert migrate(url, "verify").outcome == (0, "clean")

    sessions = [connect(url, prepare_threshold=None) for _ in range(8)]
    try:
        for session in sessions:
            session.execute("BEGIN")  # each holds another server session
        left = [session.execute(STATE.encode()).fetchone() for session in sessions]
    finally:
        for session in sessions:
            session.close()
    assert left == [(0, 0, 0, 0, 0, 0)] * len(sessions)

    complaints = [
        line
        for line in log.read_text(encoding="utf-8").splitlines()
        if "ERROR" in line or "unsupported" in line
    ]
    assert complaints == []
    errors = [line for line in roles.log.read_text(encoding="utf-8")[before:].splitlines() if "ERROR" in line]
    assert [line for line in errors if "prepared statement" in line or "parameter" in line] == []


def test_a_start_up_option_is_what_the_pooler_refuses(
    pooled: tuple[str, Path], migrate: Migrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting matters: without it the move does not begin, and says why."""
    url, _ = pooled
    monkeypatch.setenv("ST_PG_POOLER", "none")
    answer = migrate(url, "prepare")
    assert answer.code != 0
    assert "unsupported startup parameter" in str(answer.data)


def test_one_scheduler_acts_through_the_pooler(pooled: tuple[str, Path]) -> None:
    """The lock belongs to an open transaction, which the pooler leaves in one session of the server."""
    url, _ = pooled
    settings = ShimSettings(pg_pooler="transaction")
    first, second = (AdvisoryLock(make_url(url), settings) for _ in range(2))
    try:
        assert (first.take(), second.take(), first.take()) == (True, False, True)
        first.let_go()
        wait_until(second.take, seconds=60)
        assert not first.take()
    finally:
        first.let_go()
        second.let_go()


@pytest.fixture
def deployment(roles: EmbeddedPostgres) -> Iterator[Callable[[], Session]]:
    """Sessions to the server itself, where one deployment has two jobs."""
    engine = make_engine(make_url(roles.url("sigma", user="sigma_owner")), ShimSettings())
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine, expire_on_commit=False)
    with sessions() as db:
        db.add(User(id=1, username="u", password_hash="x", role="TRADER", display_name="U"))
        db.flush()
        db.add(
            StrategyDeployment(
                id=1, owner_id=1, name="d", kind="STRATEGY", symbol="X", exchange="NSE", config_json="{}"
            )
        )
        db.flush()
        for key in ("first", "second"):
            fixed: dict[str, Any] = {"kind": "WINDOW", "scheduled_for": None, "payload": {}}
            enqueue_job(db, deployment_id=1, owner_id=1, dedupe_key=key, **fixed)
        db.commit()
    yield sessions
    engine.dispose()


def test_one_worker_at_a_time_is_with_a_deployment(
    pooled: tuple[str, Path], deployment: Callable[[], Session]
) -> None:
    """One worker through the pooler, one without: the section is an advisory lock of a transaction."""
    through = make_engine(make_url(pooled[0]), ShimSettings(pg_pooler="transaction"))
    pooling = sessionmaker(through, expire_on_commit=False)
    _hold_and_try(deployment, pooling, deployment)
    with deployment() as db:
        db.execute(update(StrategyDeploymentJob).values(status="PENDING", run_after=None))
        db.commit()
    _hold_and_try(pooling, deployment, deployment)
    through.dispose()


def _hold_and_try(
    holding: Callable[[], Session], trying: Callable[[], Session], deployment: Callable[[], Session]
) -> None:
    inside, leave = threading.Event(), threading.Event()

    def stay(db: Session, job: StrategyDeploymentJob) -> None:
        inside.set()
        assert leave.wait(60)

    def jobs() -> list[tuple[str, int]]:
        job = StrategyDeploymentJob
        with deployment() as db:
            return [tuple(row) for row in db.execute(select(job.status, job.attempts).order_by(job.id))]

    holder, other = DeploymentWorker(holding, "holder", stay), DeploymentWorker(trying, "other")
    thread = threading.Thread(target=holder.run_once)
    thread.start()
    try:
        assert inside.wait(60)
        assert other.run_once()  # it claims the second job, and gives the job back
        assert jobs() == [("RUNNING", 0), ("PENDING", 0)]
    finally:
        leave.set()
        thread.join()
    assert jobs() == [("DONE", 0), ("PENDING", 0)]
    with deployment() as db:
        db.execute(update(StrategyDeploymentJob).values(run_after=None))
        db.commit()
    assert other.run_once()  # nothing of the first section is left in any session of the server
    assert jobs() == [("DONE", 0), ("DONE", 0)]
    with deployment() as db:
        assert db.scalars(select(StrategyDeploymentLock)).all() == []


def test_flipping_the_url_switches_through_the_pooler(
    pooled: tuple[str, Path], migrate: Migrate, backend: Backend
) -> None:
    """ST_CUTOVER=auto through the pooler: a restart with the URL flipped is the whole switch."""

    url, _ = pooled
    assert migrate(url, "run").outcome == (0, "ready")
    current = backend(
        url,
        wanted=Side.POSTGRES,
        dual_write="sync",
        pg_pooler="transaction",
        cutover="auto",
        cutover_hold_ms=20_000,
    )
    assert switch_at_start(current)
    write_alert("FLIPPED")
    with connect(url, prepare_threshold=None) as connection:
        assert connection.execute("SELECT count(*) FROM alerts WHERE symbol = 'FLIPPED'").fetchone() == (1,)


def test_sessions_of_any_application_follow_through_the_pooler(
    pooled: tuple[str, Path],
    roles: EmbeddedPostgres,
    migrate: Migrate,
    sqlite_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plain and asynchronous ones, with each side as primary; each commit waits for the shadow."""
    url, log = pooled
    monkeypatch.setenv("ST_DUAL_WRITE_TIMEOUT_MS", "60000")
    shim_settings.cache_clear()
    former = runtime.use(None)
    assert migrate(url, "run").outcome == (0, "ready")
    engine, direct = create_engine(f"sqlite:///{sqlite_path}"), create_engine(make_url(roles.url("sigma")))
    both = {"sqlite": str(engine.url), "postgres": url}
    plainly, on_a_loop = install(sessionmaker(engine), **both), install(async_sessionmaker(), **both)
    add = text("INSERT INTO system_events (level, category, message) VALUES ('INFO', 'x', :said)")
    seen = "SELECT count(*) FROM system_events WHERE message LIKE 'pooled%'"

    async def write(said: str) -> None:
        async with on_a_loop.begin() as session:
            await session.execute(add, {"said": said})

    try:
        for number, verb in enumerate(("", "cutover", "rollback"), 1):
            if verb:
                assert migrate(url, verb, "--max-pause-ms", "20000").outcome == (0, "moved")
            with plainly.begin() as session:
                session.execute(add, {"said": f"pooled {number}"})
                assert session.get_bind().dialect.name == ("postgresql" if verb == "cutover" else "sqlite")
            asyncio.run(write(f"pooled on a loop {number}"))
            for side in (engine, direct):
                with side.connect() as connection:
                    assert connection.scalar(text(seen)) == 2 * number
    finally:
        runtime.runtime().stop()
        runtime.use(former)
        engine.dispose()
        direct.dispose()
        shim_settings.cache_clear()
    assert [
        line
        for line in log.read_text(encoding="utf-8").splitlines()
        if "ERROR" in line or "unsupported" in line
    ] == []
