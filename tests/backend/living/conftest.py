"""Databases of each kind with the application's schema and no rows, shared by the tests of this folder."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, make_url
from sqlalchemy.orm import Session, sessionmaker

from app.core.config import Settings
from app.db import Base
from app.db.common.settings import ShimSettings
from app.db.revisions.chain import upgrade_head
from app.db.session.engines import make_engine
from app.retention.run import Retention
from loadtests.stage.embedded import EmbeddedPostgres
from tests.backend.served import Served
from tests.core.modes.chosen import ALL, PAIRS
from tests.support.fixtures import clone, copying, templates  # noqa: F401 - fixtures

MODES = [f"{mode}-{primary}" for mode, primary in PAIRS] if ALL else ["sync-sqlite", "sync-postgres"]
KINDS = ("sqlite", "postgres", *MODES)


@dataclass
class Store:
    """A database as the application opens it, and a folder for archives."""

    url: str
    engine: Engine
    sessions: Callable[[], Session]
    folder: Path
    settle: Callable[[], None]

    def settings(self, **given: Any) -> Settings:
        """Settings in which nothing waits for a dedupe window."""
        return Settings(
            _env_file=None,  # type: ignore[call-arg]
            **{"retention_dir": str(self.folder), "retention_batch_rows": 50, **given},
        )

    def retention(self, **given: Any) -> Retention:
        """A run that makes no pauses."""
        return Retention(self.sessions, self.settings(**given), pause=lambda _seconds: None)


@contextmanager
def _plain(url: str, folder: Path) -> Iterator[Store]:
    upgrade_head(url)
    engine = make_engine(make_url(url), ShimSettings())
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda raw, _record: raw.execute("PRAGMA synchronous = OFF"))
    sessions = sessionmaker(engine, autoflush=False, expire_on_commit=False)

    def empty() -> None:
        with engine.begin() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(table.delete())

    empty()  # the chain's own rows
    yield Store(url, engine, sessions, folder, empty)
    engine.dispose()


@pytest.fixture(scope="session")
def living(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: EmbeddedPostgres,
    pairs: Callable[[str], Served],
) -> Iterator[Callable[[str], Store]]:
    """Finds the database of a kind; each is made when it is first asked for."""
    made: dict[str, Store] = {}
    folder = tmp_path_factory.mktemp("living")
    with ExitStack() as stack:

        def find(kind: str) -> Store:
            if "-" in kind:
                pair = pairs(kind)
                return Store("", pair.engine, pair.session, folder, pair.settle)
            if kind not in made:
                url = f"sqlite:///{folder / 'living.db'}"
                if kind == "postgres":
                    url = postgres_server.create_database("living")
                made[kind] = stack.enter_context(_plain(url, folder))
            return made[kind]

        yield find


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, living: Callable[[str], Store], tmp_path: Path) -> Iterator[Store]:
    """A database without rows; a pair is found equal and unquarantined afterwards."""
    found = living(request.param)
    found.folder = tmp_path / "archive"
    yield found
    found.settle()


@pytest.fixture
def few_files() -> Iterator[int]:
    """What is started from here may open 128 files, and more if it asks; yields the most that it may ask for."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
