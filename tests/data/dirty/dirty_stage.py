"""A pair of databases with tables of the test's own, taken through the real prepare and backfill.

The application's Alembic chain is replaced by plain DDL, so that a test has exactly the tables and the
column types it is about.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.db.apply.compare import Mismatch, compare_rows
from app.db.apply.outcome import Round
from app.db.apply.round import Applier
from app.db.common.settings import load_settings
from app.db.common.urls import Pair, Side, make_pair, parse_url
from app.db.revisions.source import SchemaSource
from app.db.rows import policy
from app.db.sides.sqlite.connection import stream
from app.db.sides.stores import Stores
from app.db.switch.coordinator import Coordinator, Moved
from migration.fill.backfill import Backfill
from migration.fill.prepare import prepare
from tests.support.pairs import PlainTables

# One column of every kind, by its name in the case files: SQLite's declared type and PostgreSQL's.
KINDS = {
    "c_integer": ("INTEGER", "bigint"),
    "c_float": ("FLOAT", "double precision"),
    "c_real": ("FLOAT", "real"),
    "c_boolean": ("BOOLEAN", "boolean"),
    "c_text": ("VARCHAR(20)", "text"),
    "c_timestamp": ("DATETIME", "timestamp"),
    "c_date": ("DATE", "date"),
    "c_time": ("TIME", "time"),
    "c_blob": ("BLOB", "bytea"),
    "c_numeric": ("NUMERIC", "numeric"),
    "c_uuid": ("UUID", "uuid"),
    "c_json": ("JSON", "json"),
    "c_jsonb": ("JSON", "jsonb"),
    "c_instant": ("DATETIME", "timestamptz"),
    "c_interval": ("DATETIME", "interval"),
    "c_address": ("CHAR(39)", "inet"),
    "c_whole": ("INTEGER", "bigint"),
}


def every_kind(name: str) -> tuple[str, str]:
    """CREATE TABLE for both sides of a table with a column of every kind; all of them nullable but one."""
    ours = ", ".join(f"{column} {kinds[0]}" for column, kinds in KINDS.items())
    theirs = ", ".join(f"{column} {kinds[1]}" for column, kinds in KINDS.items())
    required = "c_required TEXT"
    return (
        f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, {ours}, {required} DEFAULT 'x')",
        f"CREATE TABLE {name} (id bigint PRIMARY KEY, {theirs}, {required} NOT NULL)",
    )


@dataclass
class Stage:
    """Both sides, and what a test asks of them."""

    path: Path
    pair: Pair
    applier: Applier
    source: SchemaSource

    @property
    def sqlite(self) -> sqlite3.Connection:
        return self.applier.stores.sqlite.connection

    @property
    def postgres(self) -> psycopg.Connection[Any]:
        return self.applier.stores.postgres.connection

    def prepare(self) -> None:
        prepare(self.pair, self.applier.stores, self.source, report=lambda line: None)

    def fill(self, chunk_rows: int = 20_000) -> int:
        """Prepare and copy; returns the rows copied."""
        self.prepare()
        return Backfill(self.applier, chunk_rows=chunk_rows).run()

    def write(self, *statements: str) -> None:
        """Write as another program would, in one transaction: through a connection without our settings."""
        with closing(sqlite3.connect(self.path)) as shell, shell:  # also where the statement is refused
            for statement in statements:
                shell.execute(statement)

    def round(self) -> Round:
        outcome = self.applier.round()
        assert isinstance(outcome, Round), outcome
        return outcome

    def quarantined(self) -> dict[tuple[str, str], tuple[str, str, dict[str, Any]]]:
        """(table, key) to (column, reason, content)."""
        rows = self.postgres.execute("SELECT tbl, k, col, reason, content FROM st_quarantine").fetchall()
        return {(tbl, key): (col, reason, json.loads(content)) for tbl, key, col, reason, content in rows}

    def on_postgres(self, table: str) -> dict[Any, dict[str, Any]]:
        """Rows by id, every value as PostgreSQL writes it in text."""
        rows = self.postgres.execute(f"SELECT id, row_to_json(t)::text FROM {table} t".encode()).fetchall()
        return {key: json.loads(text) for key, text in rows}

    def mismatches(self, name: str) -> list[Mismatch]:
        """Compare a whole table."""
        table = self.applier.schema()[name]
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        ours = [row for rows in stream(self.sqlite, f"SELECT {columns} FROM {name}", ()) for row in rows]
        with self.applier.stores.postgres.source() as source:
            theirs = [row for rows in source.all_rows(table) for row in rows]
        return compare_rows(table, ours, theirs)


@contextmanager
def staged(
    folder: Path, url: str, sqlite_ddl: Sequence[str], postgres_ddl: Sequence[str], choices: str = ""
) -> Iterator[Stage]:
    """A pair with these tables, nothing prepared yet.

    Args:
        choices: the text of the policy file.
    """
    path = folder / "dirty.db"
    with sqlite3.connect(path) as connection:
        for statement in sqlite_ddl:
            connection.execute(statement)
    connection.close()
    config = folder / "chosen.toml"
    config.write_text(choices, encoding="utf-8")

    pair = make_pair(parse_url(f"sqlite:///{path}", name="a"), parse_url(url, name="b"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(policy.VARIABLE, str(config))
        policy.active_policy.cache_clear()
        applier = Applier(Stores.open(pair, load_settings()))
        try:
            yield Stage(path, pair, applier, PlainTables(";\n".join(postgres_ddl), probe=None))
        finally:
            applier.stores.close()
            policy.active_policy.cache_clear()


def move(stage: Stage, to: Side) -> None:
    """Switch the primary, as after a verify that was clean."""
    stage.postgres.execute(
        "INSERT INTO st_verify (id, run, epoch, position, started_at, finished_at, tables, rows, mismatches) "
        "VALUES (1, 'test', 1, '0', 0, 0, '[]', 0, 0) ON CONFLICT DO NOTHING"
    )
    outcome = Coordinator(stage.applier, max_pause_ms=5000).move(to)
    assert isinstance(outcome, Moved), outcome
