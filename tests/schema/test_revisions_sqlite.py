"""After each revision the SQLite schema is the recorded one, and each revision can be taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from schema_reflection import Schema, reflect, replay

from app.db.migrations import alembic_config

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


def read(url: str) -> Schema:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return reflect(connection)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Schema]:
    url = f"sqlite:///{tmp_path_factory.mktemp('walk') / 'walk.db'}"
    schemas = {}
    for revision in CHAIN:
        command.upgrade(alembic_config(url), revision)
        schemas[revision] = read(url)
    return schemas


def test_chain_has_the_recorded_ids_parents_and_file_names(recorded: list[dict[str, Any]]) -> None:
    ours = [
        (script.revision, script.down_revision, Path(script.path).name)
        for script in reversed(list(SCRIPTS.walk_revisions()))
    ]
    assert ours == [(r["revision"], r["down_revision"], r["file"]) for r in recorded]


@pytest.mark.parametrize("revision", CHAIN)
def test_schema_after_revision(revision: str, walked: dict[str, Schema], expected: dict[str, Schema]) -> None:
    assert walked[revision] == expected[revision]


def test_downgrades_lead_back_to_each_earlier_schema(walked: dict[str, Schema], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'down.db'}"
    command.upgrade(alembic_config(url), "head")
    for revision in reversed(CHAIN[:-1]):
        command.downgrade(alembic_config(url), revision)
        assert names(read(url)) == names(walked[revision]), revision
    command.downgrade(alembic_config(url), "base")
    assert read(url) == {}


def names(schema: Schema) -> dict[str, Any]:
    """What a downgrade has to restore: which columns, keys, checks and indexes there are."""
    return {
        table: {
            kind: sorted(json.dumps(item, sort_keys=True) for item in items) for kind, items in parts.items()
        }
        for table, parts in schema.items()
    }
