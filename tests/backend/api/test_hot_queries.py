"""No query of the hot paths goes through a large table: they are collected from the application and explained.

Hot is what the load scenarios send (deliveries, and people at their screens), what runs in the background
all the time, and logging in. The statements are those that reach the driver, with their parameters.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, make_url
from sqlalchemy.orm import Session, sessionmaker

from app.core.auth import SESSION_COOKIE_NAME, create_session_token
from app.core.config import get_settings
from app.db import get_db
from app.db.common.settings import ShimSettings
from app.db.revisions.chain import upgrade_head
from app.db.session.engines import make_engine
from app.db.session.runtime import make_runtime
from app.main import app
from app.native import branch
from app.services.deployments.scheduler import enqueue_due_jobs_once
from app.services.deployments.worker import DeploymentWorker
from app.services.orders.sending.unknown import settle_unknown
from app.services.orders.stranded import move_stranded_orders
from loadtests.judge.plans import Sent, findings
from loadtests.stage.embedded import EmbeddedPostgres
from loadtests.traffic.payloads import SHAPES
from loadtests.traffic.signals import Signals
from tests.backend.api.hot_rows import LARGE, fill

with warnings.catch_warnings():
    # Starlette's client works with httpx but announces that it will want httpx2.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from fastapi.testclient import TestClient

INDEXES = Path(__file__).resolve().parents[3] / "deploy" / "postgres" / "indexes.sql"
SECRET = "hot-queries-secret"
USER_ID, USERNAME = 1001, "trader1"
NEWCOMER_ID = 1021  # has no alert
SESSION_TIME = datetime(2026, 1, 5, 5, 0, 30, tzinfo=UTC)  # a Monday, 10:30:30 IST
NEWEST = ("/api/tv-alerts?limit=20", "/api/system-events/?limit=20")
_EXPLAINED = re.compile(r"\s*(SELECT|UPDATE|DELETE|WITH)\b")

Sessions = Callable[[], Session]
Path_ = Callable[[TestClient, Sessions], None]


@pytest.fixture(scope="module")
def postgres_hot(postgres_server: EmbeddedPostgres) -> Iterator[Engine]:
    url = postgres_server.create_database("hot_queries")
    yield from _filled(url)
    postgres_server.drop_database("hot_queries")


@pytest.fixture(scope="module")
def native_hot(postgres_server: EmbeddedPostgres) -> Iterator[Engine]:
    """PostgreSQL with the native branch: three indexes more, and none that repeats a unique key."""
    url = postgres_server.create_database("hot_native")
    for engine in _filled(url):
        branch.upgrade(make_runtime(url, ShimSettings()), keep=True)
        yield engine
    postgres_server.drop_database("hot_native")


@pytest.fixture(scope="module")
def sqlite_hot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    yield from _filled(f"sqlite:///{tmp_path_factory.mktemp('hot') / 'hot.db'}")


def _filled(url: str) -> Iterator[Engine]:
    """The schema that the chain makes, with rows in it, opened as the application opens it."""
    upgrade_head(url)
    engine = make_engine(make_url(url), ShimSettings())
    with engine.begin() as connection:
        fill(connection)
    yield engine
    engine.dispose()


@pytest.fixture(params=["postgres", "sqlite", "native"])
def engine(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(f"{request.param}_hot")
    return engine


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return sessionmaker(engine, autoflush=False, expire_on_commit=False)


@pytest.fixture
def client(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A logged-in client of the application on the filled database."""

    def get_hot_db() -> Iterator[Session]:
        with sessions() as session:
            yield session

    settings = get_settings()
    monkeypatch.setattr(settings, "tradingview_webhook_secret", SECRET)
    app.dependency_overrides[get_db] = get_hot_db
    client = TestClient(app)
    client.cookies.set(SESSION_COOKIE_NAME, create_session_token(settings, USER_ID))
    yield client
    app.dependency_overrides.clear()


@pytest.fixture
def sent(engine: Engine) -> Iterator[list[Sent]]:
    """Everything that reached the driver."""
    seen: list[Sent] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        seen.append(Sent(statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def _deliver(client: TestClient, *, users: list[str] | None = None) -> int:
    """A delivery in every shape, each sent twice; returns the id of an order."""
    signals = Signals(f"hot{datetime.now(UTC).timestamp()}", users or [USERNAME], seed=1)
    order_id = 0
    for shape in SHAPES:
        request = shape.write(signals.next()[0], SECRET)
        headers = {"Content-Type": request.content_type, **request.headers}
        for expected in ("accepted", "deduped"):
            answer = client.post("/webhook/tradingview", content=request.body, headers=headers)
            assert answer.status_code == shape.status, answer.text
            if shape.stored:
                assert answer.json()["status"] == expected
                order_id = answer.json()["order_id"]
    return order_id


def _webhook(client: TestClient, sessions: Sessions) -> None:
    _deliver(client)


def _orders(client: TestClient, sessions: Sessions) -> None:
    order_id = _deliver(client)
    waiting = client.get("/api/orders/queue").json()
    assert order_id in [order["id"] for order in waiting]
    assert client.get(f"/api/orders/{order_id}").status_code == 200
    assert client.patch(f"/api/orders/{order_id}", json={"qty": 7.0}).status_code == 200
    assert client.patch(f"/api/orders/{order_id}/status", json={"status": "CANCELLED"}).status_code == 200


def _screens(client: TestClient, sessions: Sessions) -> None:
    client.get("/api/positions/").raise_for_status()
    times = "start=2026-01-02T09:15:00&end=2026-01-02T12:00:00"
    client.get(f"/api/market/history?symbol=S1&exchange=NSE&timeframe=5m&{times}").raise_for_status()


def _log_in(client: TestClient, sessions: Sessions) -> None:
    assert client.post("/api/auth/login", json={"username": USERNAME, "password": "no"}).status_code == 401
    assert client.get("/api/auth/me").json()["username"] == USERNAME


def _jobs(client: TestClient, sessions: Sessions) -> None:
    worker = DeploymentWorker(
        sessions,
        "hot",
        before_claim=lambda db: enqueue_due_jobs_once(db, get_settings(), now_utc=SESSION_TIME),
    )
    assert worker.run_once()


def _stranded(client: TestClient, sessions: Sessions) -> None:
    with sessions() as db:
        move_stranded_orders(db)
        settle_unknown(db, get_settings())


@pytest.mark.parametrize("path", [_webhook, _orders, _screens, _log_in, _jobs, _stranded])
def test_hot_paths_go_through_no_large_table(
    path: Path_, client: TestClient, sessions: Sessions, engine: Engine, sent: list[Sent]
) -> None:
    path(client, sessions)
    assert _explained(engine, sent) == {}


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
@pytest.mark.parametrize("page", NEWEST)
def test_the_newest_rows_need_the_operators_index(
    page: str, client: TestClient, engine: Engine, sent: list[Sent]
) -> None:
    """The application's schema has none for these two pages; deploy/postgres/indexes.sql adds them."""
    before = client.get(page)
    assert len(before.json()) == 20
    assert [kind for kinds in _explained(engine, sent).values() for kind in kinds if "Seq Scan" in kind]
    made = re.findall(r"CREATE INDEX CONCURRENTLY IF NOT EXISTS (\w+)[^;]+;", INDEXES.read_text("utf-8"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            for _ in range(2):  # it can be repeated
                for statement in re.findall(r"^CREATE[^;]+", INDEXES.read_text("utf-8"), re.MULTILINE):
                    connection.exec_driver_sql(statement)
            sent.clear()
            after = client.get(page)
            assert _explained(engine, sent) == {}
            assert after.json() == before.json()
        finally:
            for index in made:
                connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index}")


@pytest.mark.parametrize("engine", ["native"], indirect=True)
@pytest.mark.parametrize("page", [*NEWEST, "/api/system-events/?order_id=7"])
def test_the_native_branch_has_the_index_of_every_page(
    page: str, client: TestClient, engine: Engine, sent: list[Sent]
) -> None:
    assert client.get(page).status_code == 200
    assert _explained(engine, sent) == {}


@pytest.mark.parametrize("engine", ["native"], indirect=True)
def test_a_person_without_alerts_makes_nobody_elses_be_walked_over(
    client: TestClient, engine: Engine, sent: list[Sent]
) -> None:
    client.cookies.set(SESSION_COOKIE_NAME, create_session_token(get_settings(), NEWCOMER_ID))
    assert client.get(NEWEST[0]).json() == []
    assert _explained(engine, sent) == {}


def test_a_missing_index_is_found(
    client: TestClient, sessions: Sessions, engine: Engine, sent: list[Sent]
) -> None:
    """The net has the right mesh: without the idempotency key's index a delivery reads all orders."""
    _webhook(client, sessions)
    collected = list(sent)
    with engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("DROP INDEX ux_orders_client_order_id")
        found = [
            kind
            for one in collected
            if _EXPLAINED.match(one.statement)
            for kind in findings(connection, one, LARGE)
        ]
        transaction.rollback()
    assert [kind for kind in found if "orders" in kind]


def _explained(engine: Engine, sent: list[Sent]) -> dict[str, list[str]]:
    """What was found, by statement; every kind of statement is explained once."""
    kinds = {one.statement: one for one in list(sent) if _EXPLAINED.match(one.statement)}
    assert kinds
    with engine.connect() as connection:
        found = {statement: findings(connection, one, LARGE) for statement, one in kinds.items()}
    return {statement: kinds for statement, kinds in found.items() if kinds}
