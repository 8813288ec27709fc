"""Prepared pairs of the small chain, with either side as primary, configured as the deployment's."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.config import Config

from app.db.common.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from tests.data.schema.chain_pairs import clone, make_template, url_of
from tests.data.schema.pair_chain import write_chain
from tests.support.pairs import TestPair


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return write_chain(tmp_path_factory.mktemp("chain") / "small")


@pytest.fixture(scope="module")
def templates(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, chain: Config
) -> Iterator[dict[Side, Path]]:
    made = {}
    for primary in Side:
        made[primary] = tmp_path_factory.mktemp("templates") / f"{primary}.db"
        make_template(made[primary], postgres_server.create_database(f"chain_{primary}"), chain, primary)
    yield made
    for primary in Side:
        postgres_server.drop_database(f"chain_{primary}")


@pytest.fixture
def pair_of(
    templates: dict[Side, Path],
    postgres_server: EmbeddedPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[Side], TestPair]]:
    """Makes a pair with a primary of choice, and configures it as the deployment's."""
    pairs: list[TestPair] = []

    def make(primary: Side) -> TestPair:
        path = tmp_path / f"{len(pairs)}.db"
        clone(templates[primary], path)
        name = f"p_{uuid.uuid4().hex[:12]}"
        pair = TestPair(path, postgres_server.create_database(name, template=f"chain_{primary}"))
        pairs.append(pair)
        monkeypatch.setenv("ST_SHADOW_DATABASE_URL", url_of(pair, primary.other))
        return pair

    yield make
    for pair in pairs:
        pair.close()
        postgres_server.drop_database(str(pair.pair.postgres.database))
