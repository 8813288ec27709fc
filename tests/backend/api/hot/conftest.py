"""The application's databases of some age, a client of it, and all statements that reach the driver."""

from __future__ import annotations

from collections.abc import Iterator
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
from loadtests.judge.plans import Sent
from loadtests.stage.embedded import EmbeddedPostgres
from tests.backend.api.hot.hot_paths import SECRET, USER_ID, Sessions, TestClient
from tests.backend.api.hot.hot_rows import fill


@pytest.fixture(scope="module")
def postgres_hot(postgres_server: EmbeddedPostgres) -> Iterator[Engine]:
    url = postgres_server.create_database("hot_queries")
    yield from _filled(url)
    postgres_server.drop_database("hot_queries")


@pytest.fixture(scope="module")
def native_hot(postgres_server: EmbeddedPostgres) -> Iterator[Engine]:
    """PostgreSQL with the native branch: indexes for lists, and none that repeats a unique key."""
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
