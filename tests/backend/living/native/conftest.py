"""PostgreSQL alone at the chain's head, a new database for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from app.db.common.settings import ShimSettings
from app.db.revisions.chain import upgrade_head
from app.db.session.runtime import Runtime, make_runtime
from loadtests.stage.embedded import EmbeddedPostgres


@pytest.fixture(scope="module")
def template(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A database at the chain's head."""
    upgrade_head(postgres_server.create_database("native_template"))
    yield "native_template"
    postgres_server.drop_database("native_template")


@pytest.fixture
def runtime(postgres_server: EmbeddedPostgres, template: str) -> Iterator[Runtime]:
    """PostgreSQL alone, at the chain's head."""
    made = make_runtime(postgres_server.create_database("native", template=template), ShimSettings())
    yield made
    made.stop()
    postgres_server.drop_database("native")


@pytest.fixture
def engine(runtime: Runtime) -> Engine:
    return runtime.engine(runtime.desired)
