"""The application on a database of each kind: every test of this folder that asks for `client` runs twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.orm import Session, sessionmaker

from app.core import auth
from app.core.attempts import Attempts
from app.core.auth import SESSION_COOKIE_NAME, create_session_token
from app.core.config import Settings, get_settings
from app.db import Base, get_db
from app.db.common.settings import ShimSettings
from app.db.revisions.chain import upgrade_head
from app.db.revisions.ddl import normalise_postgres
from app.db.session.engines import make_engine
from app.db.session.runtime import make_runtime
from app.main import app
from app.models import BrokerConnection, User
from app.native import branch
from app.services.brokers.clients import CLIENT_FACTORIES
from loadtests.stage.embedded import EmbeddedPostgres
from tests.backend.api.api_values import CRYPTO_KEY, SERVED, WEBHOOK_SECRET
from tests.backend.api.fake_broker import FakeBroker
from tests.backend.served import Served

with warnings.catch_warnings():
    # Starlette's client works with httpx but announces that it will want httpx2.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from fastapi.testclient import TestClient

SessionFactory = Callable[[], Session]
_CHILDREN_FIRST = [table.name for table in reversed(Base.metadata.sorted_tables)]
_DELETIONS = "; ".join(f'DELETE FROM "{name}"' for name in Base.metadata.tables)


@pytest.fixture(scope="session")
def sqlite_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A SQLite file with the schema, shared by the tests one after the other; no commit waits for the disk."""
    engine = make_engine(
        make_url(f"sqlite:///{tmp_path_factory.mktemp('database') / 'api.db'}"), ShimSettings()
    )
    event.listen(engine, "connect", lambda raw, _record: raw.execute("PRAGMA synchronous = OFF"))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_engine(postgres_server: EmbeddedPostgres) -> Iterator[Engine]:
    """A PostgreSQL database with the schema as it gets it, shared likewise."""
    url = postgres_server.create_database("api_tests")
    maker = create_engine(url)
    with maker.begin() as connection:
        Base.metadata.create_all(connection)
        normalise_postgres(connection)
        connection.exec_driver_sql("ALTER DATABASE api_tests SET synchronous_commit = off")
    maker.dispose()
    engine = make_engine(make_url(url), ShimSettings())
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def native_engine(postgres_server: EmbeddedPostgres) -> Iterator[Engine]:
    """PostgreSQL with the native branch, shared likewise."""
    url = postgres_server.create_database("api_native")
    upgrade_head(url)
    branch.upgrade(make_runtime(url, ShimSettings()), keep=True)
    engine = make_engine(make_url(url), ShimSettings())
    _empty_every_table(engine)  # the chain's own rows
    yield engine
    engine.dispose()


def _empty_every_table(engine: Engine) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Without the keys' triggers the order of the tables does not matter.
            connection.exec_driver_sql(f"SET LOCAL session_replication_role = replica; {_DELETIONS}")
            return
        for name in _CHILDREN_FIRST:
            connection.exec_driver_sql(f'DELETE FROM "{name}"')


@pytest.fixture(params=SERVED)
def served_by(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, SessionFactory]]:
    """A database with the schema and no rows, as the application opens it, and what makes its sessions."""
    if "-" in request.param:
        find: Callable[[str], Served] = request.getfixturevalue("pairs")
        pair = find(request.param)
        yield pair.engine, pair.session
        pair.settle()
        return
    engine: Engine = request.getfixturevalue(f"{request.param}_engine")
    yield engine, sessionmaker(bind=engine, autoflush=False, expire_on_commit=False)
    _empty_every_table(engine)


@pytest.fixture
def engine(served_by: tuple[Engine, SessionFactory]) -> Engine:
    """The database that serves."""
    return served_by[0]


@pytest.fixture
def session_factory(served_by: tuple[Engine, SessionFactory]) -> SessionFactory:
    return served_by[1]


@pytest.fixture
def db(session_factory: SessionFactory) -> Iterator[Session]:
    """A session of the test's own; commit before calling the application."""
    with session_factory() as session:
        yield session


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The application's settings with the values of the recorded cases and an empty config folder."""
    folder = tmp_path / "config"
    folder.mkdir()
    monkeypatch.setenv("ST_CONFIG_DIR", str(folder))
    current = get_settings()
    # New hashes are made with few rounds; how many a stored one has taken is written in it.
    monkeypatch.setattr(auth, "_ITERATIONS", 1_000)
    monkeypatch.setattr(current, "crypto_key", CRYPTO_KEY)
    monkeypatch.setattr(current, "tradingview_webhook_secret", WEBHOOK_SECRET)
    return current


@pytest.fixture
def client(session_factory: SessionFactory, settings: Settings) -> Iterator[TestClient]:
    """The application on the test's database; an unhandled error shows as status 500."""

    def get_test_db() -> Iterator[Session]:
        with session_factory() as session:
            yield session

    app.dependency_overrides[get_db] = get_test_db
    app.state.attempts = Attempts()
    yield TestClient(app, raise_server_exceptions=False)
    app.dependency_overrides.clear()


@pytest.fixture
def user(db: Session) -> User:
    """A stored user; tests that do not log in with a password need no real hash."""
    user = User(username="trader1", password_hash="x", role="TRADER", display_name="Trader One")
    db.add(user)
    db.commit()
    return user


@pytest.fixture
def logged_in(client: TestClient, user: User, settings: Settings) -> TestClient:
    """The client with a session of `user`."""
    client.cookies.set(SESSION_COOKIE_NAME, create_session_token(settings, user.id))
    return client


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """Every SQL statement that reached the database, in order."""
    seen: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def endings(engine: Engine) -> Iterator[list[str]]:
    """How every transaction ended, in order; one that had only read when it was closed is not in it."""
    seen: list[str] = []

    def note_commit(_connection: object) -> None:
        seen.append("commit")

    event.listen(engine, "commit", note_commit)
    yield seen
    event.remove(engine, "commit", note_commit)


@pytest.fixture
def broker(db: Session, user: User, monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """A connected Zerodha."""
    fake = FakeBroker()
    monkeypatch.setitem(CLIENT_FACTORIES, "zerodha", lambda _settings, _connection: fake)
    db.add(BrokerConnection(user_id=user.id, broker_name="zerodha", access_token_encrypted="x"))
    db.commit()
    return fake
