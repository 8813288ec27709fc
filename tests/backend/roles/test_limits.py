"""Limits of sessions outside of requests bite, and what is seen then: the table of docs/living.md names them.

Those of requests and deliveries have tests of their own (`tests/core/outage/test_answers_in_time.py`,
`tests/backend/api/webhook/door/test_groups.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from app.core.config import Settings
from app.db.common.errors import first_line
from app.db.common.settings import ShimSettings
from app.db.revisions.chain import upgrade_head
from app.db.session.engines import is_unavailable, make_engine
from app.retention.run import Retention
from app.services.deployments.worker import DeploymentWorker
from loadtests.stage.embedded import EmbeddedPostgres
from tests.support.pairs import wait_until

LIMITS = ShimSettings(_env_file=None, pg_statement_timeout_ms=300, pg_lock_timeout_ms=200)
LOCK = "SELECT pg_advisory_xact_lock(7321)"


@pytest.fixture(scope="module")
def url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    made = postgres_server.create_database("limits")
    upgrade_head(made)
    yield made
    postgres_server.drop_database("limits")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """As a process opens it whose limits are short."""
    made = make_engine(make_url(url), LIMITS)
    yield made
    made.dispose()


@pytest.fixture
def holder(url: str) -> Iterator[Session]:
    """A session of another process."""
    made = make_engine(make_url(url), ShimSettings(_env_file=None))
    with sessionmaker(made)() as db:
        yield db
    made.dispose()


def test_a_statement_and_a_wait_for_a_lock_are_ended(engine: Engine, holder: Session) -> None:
    holder.execute(text(LOCK))
    for statement, said in (("SELECT pg_sleep(60)", "statement timeout"), (LOCK, "lock timeout")):
        with engine.connect() as connection:
            with pytest.raises(OperationalError, match=said) as ended:
                connection.execute(text(statement))
            assert is_unavailable(ended.value)  # 503 and a time to come back, if it was in a request
            connection.rollback()
            assert connection.scalar(text("SELECT 1")) == 1


def test_an_abandoned_transaction_loses_its_locks(engine: Engine, holder: Session) -> None:
    assert holder.scalar(text("SHOW idle_in_transaction_session_timeout")) == "1min"
    holder.execute(text("SET LOCAL idle_in_transaction_session_timeout = 100"))
    holder.execute(text(LOCK))

    def is_free() -> bool:
        try:
            with engine.begin() as connection:
                connection.execute(text(LOCK))
        except OperationalError:
            return False
        return True

    wait_until(is_free, seconds=60)
    with pytest.raises(DBAPIError) as lost:
        holder.execute(text("SELECT 1"))
    assert is_unavailable(lost.value)


def test_retention_that_meets_a_limit_says_so_and_changes_nothing(
    engine: Engine, holder: Session, tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, retention_dir=str(tmp_path))
    run = Retention(sessionmaker(engine), settings, pause=lambda _seconds: None)
    holder.execute(text("LOCK TABLE system_events"))
    stopped = run.run()
    assert "lock timeout" in (stopped.error or "")
    holder.rollback()
    assert run.run().error is None


def test_a_worker_that_meets_a_limit_goes_on(
    engine: Engine, holder: Session, caplog: pytest.LogCaptureFixture
) -> None:
    holder.execute(text("LOCK TABLE strategy_deployment_jobs"))
    worker, stop, turns = DeploymentWorker(sessionmaker(engine), "w"), threading.Event(), threading.Event()
    once = worker.run_once

    def turn() -> bool:
        did = once()
        turns.set()
        return did

    worker.run_once = turn
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        ended = "canceling statement due to lock timeout"
        wait_until(
            lambda: any(r.exc_info and ended in first_line(r.exc_info[1]) for r in caplog.records),
            seconds=60,
        )
        assert not turns.is_set()
        holder.rollback()
        assert turns.wait(60)
    finally:
        stop.set()
        worker.wake.stop()
        thread.join()
