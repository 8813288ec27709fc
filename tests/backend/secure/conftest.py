"""The application on an empty SQLite file with the settings of a deployment: nothing is opened for tests."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import make_url
from sqlalchemy.orm import Session, sessionmaker

from app.core import auth, security
from app.core.auth import hash_password
from app.core.config import Settings, get_settings
from app.db import Base, get_db
from app.db.common.settings import ShimSettings
from app.db.session.engines import make_engine
from app.main import create_app
from app.models import User

with warnings.catch_warnings():
    # Starlette's client works with httpx but announces that it will want httpx2.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

ROOT = Path(__file__).resolve().parents[3]
SECRETS = {
    "ST_TRADINGVIEW_WEBHOOK_SECRET": "webhook-secret-0001",
    "ST_CRYPTO_KEY": "crypto-key-0001",
    "ST_ADMIN_PASSWORD": "admin-password-0001",
}


def deployed_environment(**more: str) -> dict[str, str]:
    """The environment of a process of its own without any ST_ variable of ours, plus `more`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ST_", "PYTEST_"))}
    path = os.pathsep.join((str(ROOT / "backend"), str(ROOT)))
    return {**kept, "PYTHONPATH": path, "ST_SHADOW_DATABASE_URL": "", **more}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a deployment; no call passes because a test runs."""
    monkeypatch.setattr(security, "running_under_pytest", lambda: False)
    monkeypatch.setattr(auth, "_ITERATIONS", 1_000)
    current = get_settings()
    chosen = {"environment": "prod", "allow_registration": False, "admin_username": "boss"}
    for name, value in (chosen | {k.removeprefix("ST_").lower(): v for k, v in SECRETS.items()}).items():
        monkeypatch.setattr(current, name, value)
    return current


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Session]:
    engine = make_engine(make_url(f"sqlite:///{tmp_path / 'secure.db'}"), ShimSettings())
    Base.metadata.create_all(engine)
    with sessionmaker(bind=engine, autoflush=False, expire_on_commit=False)() as session:
        yield session
    engine.dispose()


@pytest.fixture
def app(db: Session, settings: Settings) -> FastAPI:
    made = create_app()

    def own() -> Iterator[Session]:
        with Session(bind=db.get_bind(), autoflush=False, expire_on_commit=False) as session:
            yield session

    made.dependency_overrides[get_db] = own
    return made


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="https://testserver", raise_server_exceptions=False)


@pytest.fixture
def user(db: Session) -> Callable[..., User]:
    """Makes a user with the password `secret-1`."""

    def make(name: str = "trader1", role: str = "TRADER", password: str = "secret-1") -> User:
        made = User(username=name, password_hash=hash_password(password), role=role, display_name=name)
        db.add(made)
        db.commit()
        return made

    return make
