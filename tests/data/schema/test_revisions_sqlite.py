"""After each revision the SQLite schema is the recorded one, and each revision can be taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from app.db.revisions.chain import alembic_config
from app.db.revisions.runner import Hooks, Run
from tests.data.schema.conftest import OURS, Ladder
from tests.data.schema.schema_reflection import Schema, reflect, replay

SCRIPTS = ScriptDirectory.from_config(alembic_config("sqlite:////unused"))
CHAIN = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]


@pytest.fixture(scope="module")
def expected(recorded: list[dict[str, Any]]) -> dict[str, Schema]:
    schemas: dict[str, Schema] = {}
    schema: Schema = {}
    for revision in recorded:
        schema = replay(schema, revision)
        schemas[revision["revision"]] = schema
    return schemas


class Recording(Hooks):
    """Reads the schema after each revision."""

    def __init__(self) -> None:
        self.schemas: list[Schema] = []

    def after_revision(self, connection: sa.Connection) -> None:
        self.schemas.append(reflect(connection))


def walk(url: str, plan: Callable[[Any], Any]) -> list[Schema]:
    """The schema after each step of a plan."""
    hooks = Recording()
    with EnvironmentContext(alembic_config(url), SCRIPTS, fn=lambda heads, _: plan(heads)) as environment:
        Run(environment).on_url(sa.make_url(url), hooks)
    return hooks.schemas


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Schema]:
    url = f"sqlite:///{tmp_path_factory.mktemp('walk') / 'walk.db'}"
    schemas = walk(url, lambda heads: SCRIPTS._upgrade_revs("head", heads))
    return dict(zip(CHAIN, schemas, strict=True))


def test_chain_has_the_recorded_ids_parents_and_file_names(recorded: list[dict[str, Any]]) -> None:
    ours = [
        (script.revision, script.down_revision, Path(script.path).name)
        for script in reversed(list(SCRIPTS.walk_revisions()))
    ]
    assert ours[: -len(OURS)] == [(r["revision"], r["down_revision"], r["file"]) for r in recorded]
    assert CHAIN[-len(OURS) :] == OURS


@pytest.mark.parametrize("revision", CHAIN[: -len(OURS)])
def test_schema_after_revision(revision: str, walked: dict[str, Schema], expected: dict[str, Schema]) -> None:
    assert walked[revision] == expected[revision]


def test_downgrades_lead_back_to_each_earlier_schema(walked: dict[str, Schema], ladder: Ladder) -> None:
    schemas = walk(ladder.at("sqlite", CHAIN[-1]), lambda heads: SCRIPTS._downgrade_revs("base", heads))
    *earlier, last = schemas
    for revision, schema in zip(reversed(CHAIN[:-1]), earlier, strict=True):
        assert names(schema) == names(walked[revision]), revision
    assert last == {}


def names(schema: Schema) -> dict[str, Any]:
    """What a downgrade has to restore: which columns, keys, checks and indexes there are."""
    return {
        table: {
            kind: sorted(json.dumps(item, sort_keys=True) for item in items) for kind, items in parts.items()
        }
        for table, parts in schema.items()
    }
