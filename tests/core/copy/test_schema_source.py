"""The seam between the move and the application's schema: prepare and the gates ask the source, nothing else."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL

from app.db.common.errors import Refused
from app.db.common.urls import Side
from app.db.revisions.source import Alembic
from app.db.switch.gates import Gate, evaluate
from migration.fill.prepare import prepare
from tests.support.pairs import PlainTables, TestPair, head_revision


class Refusing(PlainTables):
    """A source that finds SQLite's tables unfit."""

    def require_ready(self, sqlite: sqlite3.Connection) -> None:
        raise Refused("not these tables")

    def make_tables(self, postgres: URL) -> None:
        raise AssertionError("refused before")


class Drifted(PlainTables):
    """A source by which the two sides differ."""

    def versions(self, sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any]) -> tuple[str, str]:
        return "one state", "another"


def test_a_source_that_is_not_ready_leaves_both_sides_untouched(fresh: TestPair) -> None:
    with pytest.raises(Refused, match="not these tables"):
        prepare(fresh.pair, fresh.applier.stores, Refusing(), report=lambda line: None)
    assert fresh.pg.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'st\\_%'").fetchone() == (0,)
    assert fresh.lite.execute("SELECT name FROM sqlite_master WHERE name GLOB 'st_*'").fetchall() == []


def _schema_gate(pair: TestPair, source: PlainTables) -> Gate:
    found = evaluate(pair.applier, Side.POSTGRES, max_pause_ms=5_000, source=source)
    return next(gate for gate in found if gate.name == "schema")


def test_a_switch_asks_the_source_whether_the_sides_are_in_one_state(replicating: TestPair) -> None:
    assert _schema_gate(replicating, PlainTables()).ok
    gate = _schema_gate(replicating, Drifted())
    assert (gate.ok, gate.detail) == (False, "revision one state on SQLite, another on PostgreSQL")


def test_the_chain_refuses_a_file_at_another_revision(fresh: TestPair) -> None:
    Alembic().require_ready(fresh.lite)
    with pytest.raises(Refused, match=f"at revision {head_revision()}, the code at 0001"):
        Alembic(revision="0001").require_ready(fresh.lite)
    fresh.lite.execute("DROP TABLE alembic_version")
    with pytest.raises(Refused, match="at revision none"):
        Alembic().require_ready(fresh.lite)
