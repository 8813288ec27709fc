"""Fixtures of the core tests: pairs at the three stages of a move, each a clone of one made per run."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.db.common.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair, new_sqlite

STAGES = ("fresh", "copying", "replicating", "promoted")


@dataclass(frozen=True)
class Templates:
    """The SQLite file and PostgreSQL database of each stage."""

    folder: Path
    server: EmbeddedPostgres

    def clone(self, stage: str, path: Path) -> TestPair:
        shutil.copy(self.folder / f"{stage}.db", path)
        name = f"c_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            # Four times as fast as writing the copy to the log, on a server that does not wait for the disk.
            connection.execute(f"CREATE DATABASE {name} TEMPLATE tpl_{stage} STRATEGY file_copy".encode())
        return TestPair(path, self.server.url(name))


def _make_templates(folder: Path, server: EmbeddedPostgres) -> Templates:
    """fresh: nothing of ours; copying: prepared; replicating: copied; promoted: PostgreSQL is primary."""
    new_sqlite(folder / "fresh.db")
    server.create_database("tpl_fresh")
    steps: dict[str, Callable[[TestPair], object]] = {
        "copying": TestPair.prepare,
        "replicating": TestPair.backfill,
        "promoted": lambda pair: pair.moved(Side.POSTGRES),
    }
    for before, (stage, step) in zip(STAGES, steps.items(), strict=False):
        shutil.copy(folder / f"{before}.db", folder / f"{stage}.db")
        pair = TestPair(
            folder / f"{stage}.db", server.create_database(f"tpl_{stage}", template=f"tpl_{before}")
        )
        try:
            step(pair)
            pair.lite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            pair.close()
    return Templates(folder, server)


def _once(config: pytest.Config, key: pytest.StashKey[Any], enter: Callable[[], Any]) -> Any:
    """A thing made once per run, however many folders share these fixtures, and left at its end."""
    if key not in config.stash:
        stack = ExitStack()
        config.add_cleanup(stack.close)
        config.stash[key] = stack.enter_context(enter())
    return config.stash[key]


_SERVER = pytest.StashKey[Any]()
_TEMPLATES = pytest.StashKey[Any]()
_ZYGOTE = pytest.StashKey[Any]()


@pytest.fixture(scope="session")
def templates(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Clones come from a server of their own that does not wait for the disk: only processes die here."""
    server = _once(pytestconfig, _SERVER, lambda: EmbeddedPostgres(light=True))
    made: Templates = _once(
        pytestconfig,
        _TEMPLATES,
        lambda: nullcontext(_make_templates(tmp_path_factory.mktemp("templates"), server)),
    )
    return made


@pytest.fixture
def clone(templates: Templates, tmp_path: Path) -> Iterator[Callable[[str], TestPair]]:
    """Makes a pair at the stage that it is told."""
    pairs: list[TestPair] = []

    def make(stage: str) -> TestPair:
        pairs.append(templates.clone(stage, tmp_path / f"{stage}{len(pairs)}.db"))
        return pairs[-1]

    yield make
    for pair in pairs:
        pair.close()
        templates.server.drop_database(str(pair.pair.postgres.database))


@pytest.fixture
def fresh(clone: Callable[[str], TestPair]) -> TestPair:
    return clone("fresh")


@pytest.fixture
def copying(clone: Callable[[str], TestPair]) -> TestPair:
    return clone("copying")


@pytest.fixture
def replicating(clone: Callable[[str], TestPair]) -> TestPair:
    return clone("replicating")


@pytest.fixture
def promoted(clone: Callable[[str], TestPair]) -> TestPair:
    return clone("promoted")


@pytest.fixture(params=[Side.SQLITE, Side.POSTGRES], ids=["sqlite_primary", "postgres_primary"])
def primary(request: pytest.FixtureRequest) -> Side:
    return Side(request.param)


@pytest.fixture
def pair(primary: Side, clone: Callable[[str], TestPair]) -> TestPair:
    """A copied pair with either side as primary."""
    return clone("replicating" if primary is Side.SQLITE else "promoted")


@pytest.fixture(scope="session")
def zygote(pytestconfig: pytest.Config) -> Zygote:
    """Starts processes that may die."""
    started: Zygote = _once(pytestconfig, _ZYGOTE, Zygote)
    return started
