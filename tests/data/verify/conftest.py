"""One small pair per module, put right again after each test; the sample database once per run."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db.apply.round import Applier
from app.db.common.settings import load_settings
from app.db.common.urls import Side, make_pair, parse_url
from app.db.revisions.source import Alembic
from app.db.sides.stores import Stores
from loadtests.stage.embedded import EmbeddedPostgres
from migration.fill.backfill import Backfill
from migration.fill.prepare import prepare
from migration.verify.run import Verify, repair
from tests.data.verify.small_pair import SmallPair, make_small_pair


@pytest.fixture(scope="module")
def module_pair(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallPair]:
    name = f"v_{uuid.uuid4().hex[:12]}"
    pair = make_small_pair(tmp_path_factory.mktemp("small"), postgres_server.create_database(name))
    yield pair
    pair.applier.stores.close()
    postgres_server.drop_database(name)


def _lent(pair: SmallPair, primary: Side) -> Iterator[SmallPair]:
    pair.move(primary)
    yield pair
    repair(pair.applier, Verify(pair.applier).run().mismatches)


@pytest.fixture
def pair(module_pair: SmallPair) -> Iterator[SmallPair]:
    """The small pair, equal and with SQLite primary; what the test damages is repaired afterwards."""
    yield from _lent(module_pair, Side.SQLITE)


@pytest.fixture(scope="module", params=list(Side), ids=lambda side: f"{side}_primary")
def direction(request: pytest.FixtureRequest) -> Side:
    """Who is primary; a module's tests run by direction, so that the sides are switched once."""
    return Side(request.param)


@pytest.fixture
def either(direction: Side, module_pair: SmallPair) -> Iterator[SmallPair]:
    """The small pair in both directions."""
    yield from _lent(module_pair, direction)


@pytest.fixture(scope="session")
def sample(
    postgres_server: EmbeddedPostgres, sample_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallPair]:
    """The sample database on both sides, its two largest tables shortened."""
    path = Path(shutil.copy(sample_file, tmp_path_factory.mktemp("sample") / "st.db"))
    connection = sqlite3.connect(path)
    for table in ("candles", "system_events"):
        connection.execute(
            f"DELETE FROM {table} WHERE id NOT IN (SELECT id FROM {table} ORDER BY id LIMIT 2000)"
        )
    connection.commit()
    connection.close()
    name = f"v_{uuid.uuid4().hex[:12]}"
    url = postgres_server.create_database(name)
    sides = make_pair(parse_url(f"sqlite:///{path}", name="test"), parse_url(url, name="test"))
    applier = Applier(Stores.open(sides, load_settings()))
    prepare(sides, applier.stores, Alembic(), report=lambda line: None)
    Backfill(applier).run()
    yield SmallPair(applier, path, url)
    applier.stores.close()
    postgres_server.drop_database(name)
