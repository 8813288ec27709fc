"""The application on a database of each kind: every test of this folder that asks for `client` runs twice."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from api_values import CRYPTO_KEY, WEBHOOK_SECRET
from fake_broker import FakeBroker
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.orm import Session, sessionmaker

from app.core.auth import SESSION_COOKIE_NAME, create_session_token
from app.core.config import Settings, get_settings
from app.db import Base, get_db
from app.db.ddl import normalise_postgres
from app.db.engines import make_engine
from app.db.settings import ShimSettings
from app.main import app
from app.models import BrokerConnection, User
from app.services.broker_clients import CLIENT_FACTORIES
from loadtests.embedded import EmbeddedPostgres

with warnings.catch_warnings():
    # Starlette's client works with httpx but announces that it will want httpx2.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from fastapi.testclient import TestClient

SessionFactory = Callable[[], Session]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and no rows, to be copied."""
    path = tmp_path_factory.mktemp("template") / "api.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def api_database(postgres_server: EmbeddedPostgres) -> str:
    """URL of a PostgreSQL database with the schema as it gets it, shared by the tests one after the other."""
    url = postgres_server.create_database("api_tests")
    engine = create_engine(url)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        normalise_postgres(connection)
    engine.dispose()
    return url


def _empty_every_table(url: str) -> None:
    deletions = "; ".join(f'DELETE FROM "{name}"' for name in Base.metadata.tables)
    engine = create_engine(url)
    with engine.begin() as connection:
        # Without the keys' triggers the order of the tables does not matter.
        connection.exec_driver_sql(f"SET LOCAL session_replication_role = replica; {deletions}")
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def db_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database with the schema and no rows."""
    if request.param == "sqlite":
        path = tmp_path / "api.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    url: str = request.getfixturevalue("api_database")
    yield url
    _empty_every_table(url)


@pytest.fixture
def engine(db_url: str) -> Iterator[Engine]:
    """The database as the application opens it."""
    engine = make_engine(make_url(db_url), ShimSettings())
    yield engine
    engine.dispose()


@pytest.fixture
def session_factory(engine: Engine) -> SessionFactory:
    return sessionmaker(bind=engine, autoflush=False, expire_on_commit=False)


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
def broker(db: Session, user: User, monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """A connected Zerodha."""
    fake = FakeBroker()
    monkeypatch.setitem(CLIENT_FACTORIES, "zerodha", lambda _settings, _connection: fake)
    db.add(BrokerConnection(user_id=user.id, broker_name="zerodha", access_token_encrypted="x"))
    db.commit()
    return fake
