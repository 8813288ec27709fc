"""One small pair per module; each test puts back what it breaks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from app.db.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from tests.verify.small_pair import SmallPair, make_small_pair


@pytest.fixture(scope="module")
def module_pair(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallPair]:
    name = f"g_{uuid.uuid4().hex[:12]}"
    pair = make_small_pair(tmp_path_factory.mktemp("gates"), postgres_server.create_database(name))
    yield pair
    pair.applier.sqlite.close()
    pair.applier.postgres.close()
    postgres_server.drop_database(name)


@pytest.fixture(scope="module", params=list(Side), ids=lambda side: f"to_{side}")
def to(request: pytest.FixtureRequest) -> Side:
    """Where the switch would go; a module's tests run by direction."""
    return Side(request.param)


@pytest.fixture
def ready(to: Side, module_pair: SmallPair) -> SmallPair:
    """A pair that may be switched as soon as it is verified."""
    module_pair.move(to.other)
    return module_pair
