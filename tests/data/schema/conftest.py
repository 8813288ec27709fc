"""Fixtures of the schema tests: databases at any revision on either side, each revision run once per side."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory

from app.db.revisions.chain import alembic_config, upgrade_head
from app.db.revisions.ddl import install_portable_defaults
from loadtests.stage.embedded import EmbeddedPostgres
from tests import facts

install_portable_defaults()

# Beyond the recorded chain; `agree` holds these to the models, on both sides.
OURS = ["0065", "0066", "0067", "0068"]
HEAD = OURS[-1]
Start = Callable[[str], str]


class Ladder:
    """Templates of databases at revisions; a missing one is made from the nearest below it.

    Args:
        server: makes the PostgreSQL ones. folder: holds the SQLite ones.
    """

    def __init__(self, server: EmbeddedPostgres, folder: Path) -> None:
        self._server = server
        self._folder = folder
        scripts = ScriptDirectory.from_config(alembic_config("sqlite:////unused"))
        self._order = [script.revision for script in reversed(list(scripts.walk_revisions()))]
        self._made: dict[str, set[str]] = {"sqlite": set(), "postgres": set()}
        self._clones: list[str] = []

    def at(self, side: str, revision: str) -> str:
        """The URL of a new database at a revision."""
        if revision not in self._made[side]:
            self._make(side, revision)
        return self._clone(side, self._name(revision), f"c_{uuid.uuid4().hex[:12]}")

    def _make(self, side: str, revision: str) -> None:
        below = self._order[: self._order.index(revision)]
        nearest = next((r for r in reversed(below) if r in self._made[side]), None)
        url = self._clone(side, nearest and self._name(nearest), self._name(revision))
        upgrade_head(url, revision)
        self._made[side].add(revision)

    @staticmethod
    def _name(revision: str) -> str:
        return f"at_{revision}"

    def _clone(self, side: str, template: str | None, name: str) -> str:
        if side == "postgres":
            self._clones.append(name)
            return self._server.create_database(name, template=template or "template0")
        file = self._folder / f"{name}.db"
        if template:
            shutil.copy(self._folder / f"{template}.db", file)
        return f"sqlite:///{file}"

    def close(self) -> None:
        for name in self._clones:
            self._server.drop_database(name)


@pytest.fixture(scope="session")
def ladder(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ladder]:
    made = Ladder(postgres_server, tmp_path_factory.mktemp("ladder"))
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(side: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once per side."""
    if side == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return str(request.getfixturevalue("pg_url"))


@pytest.fixture
def start(side: str, ladder: Ladder) -> Start:
    """Makes a database at a revision, once per side."""
    return lambda revision: ladder.at(side, revision)


@pytest.fixture(scope="session")
def recorded() -> list[dict[str, Any]]:
    """What is on record about each revision, in upgrade order."""
    return facts.revisions()
