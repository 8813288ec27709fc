"""The application's own tables: the real chain on both sides, the real prepare, moved there and back."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.db.apply.compare import compare_rows
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.revisions.source import Alembic
from app.db.rows.catalog import Schema
from migration.fill.prepare import prepare
from tests.support.fixtures import Templates
from tests.support.pairs import TestPair


def _mismatches(pair: TestPair, *only: str) -> dict[str, int]:
    """Tables that differ, all of them or only some, by the canonical form that verify uses, and in how many rows."""
    applier = pair.applier
    schema: Schema = applier.schema()
    found = {}
    with applier.stores.sqlite.source() as ours, applier.stores.postgres.source() as theirs:
        for table in [schema[name] for name in only] or schema.values():
            sqlite_rows = [row for rows in ours.all_rows(table) for row in rows]
            postgres_rows = [row for rows in theirs.all_rows(table) for row in rows]
            assert len(sqlite_rows) == len(postgres_rows), table.name
            if different := compare_rows(table, sqlite_rows, postgres_rows):
                found[table.name] = len(different)
    return found


@pytest.mark.parametrize("source", ["empty", "sample"])
def test_there_and_back_and_there_again(
    templates: Templates, tmp_path: Path, source: str, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "real.db"
    if source == "sample":
        shutil.copy(request.getfixturevalue("sample_file"), path)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM candles WHERE id > 25000")  # still more than a chunk
    else:
        upgrade_head(f"sqlite:///{path}")
    pair = TestPair(path, templates.server.create_database(f"real_{source}"))
    try:
        prepare(pair.pair, pair.applier.stores, Alembic(), report=lambda line: None)
        pair.backfill()
        assert pair.pg.execute("SELECT count(*) FROM st_quarantine").fetchone() == (0,)
        for to in (Side.POSTGRES, Side.SQLITE, Side.POSTGRES):
            pair.app(to.other).execute("UPDATE system_events SET message = message || '!' WHERE id % 7 = 0")
            pair.app(to.other).execute("DELETE FROM system_events WHERE id % 11 = 0")
            pair.app(to.other).execute(
                "INSERT INTO system_events (level, category, message) VALUES ('INFO', 'test', 'new')"
            )
            pair.moved(to)
            assert _mismatches(pair, "system_events") == {}
        assert _mismatches(pair) == {}  # what the copy left different, too: no move touches the other tables
    finally:
        pair.close()
        templates.server.drop_database(f"real_{source}")
