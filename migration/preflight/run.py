"""Preflight: everything that would block the move or change a value's meaning, found before it starts.

SQLite is read through a read-only connection, every row once. PostgreSQL, if it is given, is read in
read-only transactions (behind a pooler in plain ones). Neither is written to. What it finds is what copy and
apply would find, because both judge a value by `app.db.rows.canonical` and by the same policy file.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL

from app.db.common.errors import SwitchError
from app.db.common.settings import Pooler, load_settings
from app.db.revisions.source import SchemaSource, make_source, source_of
from app.db.rows.catalog import quote
from app.db.rows.policy import Policy
from app.db.sides.postgres.connection import open_postgres
from app.db.sides.sqlite.connection import open_sqlite
from migration.preflight.findings import left_out
from migration.preflight.findings.report import Finding, Report, Severity, in_order
from migration.preflight.findings.shapes import Shape
from migration.preflight.findings.trial import try_chain
from migration.preflight.reading import one_state
from migration.preflight.rows import check_violations, duplicates, orphans
from migration.preflight.rules import is_worth_trying, structure, trial_findings
from migration.preflight.values import check_values

Progress = Callable[[str, int], None]  # table, rows read since the last call


def _silent(table: str, rows: int) -> None:
    """Nobody watches."""


def about_rows(path: Path) -> int | None:
    """About how many rows a SQLite file has, found out without reading them. None where that cannot be said."""
    try:
        with closing(open_sqlite(path, busy_timeout_ms=1_000, read_only=True)) as sqlite:
            tables = [
                name
                for name, text in sqlite.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
                if not name.startswith(("sqlite_", "st_")) and "without rowid" not in (text or "").lower()
            ]
            size = path.stat().st_size  # more rows than bytes: its ids are no numbers that count
            numbers = [
                sqlite.execute(
                    "SELECT CAST(CASE WHEN largest <= ? THEN largest ELSE "
                    f"(SELECT count(*) FROM {quote(name)}) END AS INTEGER) "
                    f"FROM (SELECT coalesce(max(rowid), 0) AS largest FROM {quote(name)})",
                    (size,),
                ).fetchone()
                for name in tables
            ]
            return sum(int(number) for (number,) in numbers)
    except (sqlite3.Error, OSError, SwitchError):
        return None  # the check itself says what is wrong


def run(
    sqlite_path: Path,
    postgres_url: URL | None,
    policy: Policy,
    progress: Progress = _silent,
    *,
    source: SchemaSource | None = None,
    excluded: Collection[str] = (),
) -> Report:
    """Check one SQLite file and, if a URL is given, the PostgreSQL database that it is to move to.

    Args:
        progress: called after each batch of rows.
        source: what makes PostgreSQL's tables; None: what a prepared pair has on record, or the usual one.
        excluded: tables, and columns as TABLE.COLUMN, that are left out of the move.

    Raises:
        ConfigurationError: the file is not a SQLite database, or the server refuses the connection.
        ShadowUnavailable: the server cannot be reached.
    """
    settings = load_settings()
    with closing(
        open_sqlite(sqlite_path, busy_timeout_ms=settings.sqlite_busy_timeout_ms, read_only=True)
    ) as sqlite:
        if postgres_url is None:
            return _run(sqlite, sqlite_path, None, policy, progress, source or make_source(), excluded)
        with closing(open_postgres(postgres_url, settings, application_name="st-preflight")) as postgres:
            if settings.pg_pooler is Pooler.NONE:  # behind a pooler the next client would inherit it
                postgres.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            source = source or source_of(postgres)
            return _run(sqlite, sqlite_path, postgres, policy, progress, source, excluded, postgres_url)


def _run(
    sqlite: sqlite3.Connection,
    path: Path,
    postgres: psycopg.Connection[Any] | None,
    policy: Policy,
    progress: Progress,
    source: SchemaSource,
    excluded: Collection[str],
    url: URL | None = None,
) -> Report:
    found: list[Finding] = []
    shapes: dict[str, Shape] = {}
    rows, seconds = 0, 0.0
    with one_state(sqlite):
        try:
            shapes, found = structure(sqlite, path, postgres, source, policy, excluded)
            if url is not None and postgres is not None and is_worth_trying(postgres, shapes, found, source):
                found += trial_findings(try_chain(source, sqlite, url, excluded), excluded)
            of_rows: list[Finding] = []
            for name, shape in shapes.items():
                read, took = _rows(sqlite, name, shape, policy, progress, of_rows)
                rows, seconds = rows + read, seconds + took
            needs = left_out.sqlite_needs(sqlite), left_out.postgres_needs(postgres)
            found += (left_out.in_full(item, *needs) for item in of_rows)
        except sqlite3.DatabaseError as error:
            found.append(_unreadable(error))
    return Report(in_order(found), len(shapes), rows, seconds)


def _rows(
    sqlite: sqlite3.Connection,
    name: str,
    shape: Shape,
    policy: Policy,
    progress: Progress,
    found: list[Finding],
) -> tuple[int, float]:
    """Check the rows of one table. Returns how many there are and the seconds that reading them took."""
    if not shape.table.columns:
        return 0, 0.0
    started = time.monotonic()
    check = check_values(sqlite, shape, policy, lambda read: progress(name, read))
    seconds = time.monotonic() - started
    found += check.findings()
    found += duplicates(sqlite, shape, check.forms, policy)
    found += orphans(sqlite, shape, policy)
    found += check_violations(sqlite, shape)
    return check.rows, seconds


def _unreadable(error: sqlite3.DatabaseError) -> Finding:
    return Finding(
        "sqlite.unreadable",
        Severity.BLOCKS,
        f"SQLite cannot read the file: {error}",
        "repeat when no other program holds it; if it is damaged, restore it from a backup",
    )
