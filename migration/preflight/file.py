"""The SQLite file itself: is it whole, at the right revision, free, and is there room beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from app.db.common.errors import Refused
from app.db.revisions.chain import alembic_config
from app.db.revisions.source import SchemaSource
from migration.common.environment import habits
from migration.preflight.findings.report import Finding, Severity

MINIMUM_SQLITE = (3, 38, 0)  # JSON functions built in
_DAMAGE_SHOWN = 10


def file_findings(sqlite: sqlite3.Connection, path: Path, source: SchemaSource) -> Iterator[Finding]:
    """Everything about the file that is not a table or a row."""
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        yield Finding(
            "sqlite.version",
            Severity.BLOCKS,
            f"the SQLite library is {sqlite3.sqlite_version}",
            f"use Python with SQLite {'.'.join(map(str, MINIMUM_SQLITE))} or newer",
        )
    if not source.installed:
        yield from _chain()
    yield from _integrity(sqlite)
    encoding = sqlite.execute("PRAGMA encoding").fetchone()[0]
    if encoding != "UTF-8":
        yield Finding(
            "sqlite.encoding",
            Severity.WARNS,
            f"texts are stored as {encoding}; SQLite replaces half characters when it reads them",
            "nothing, unless texts came from programs that cut them",
        )
    mode = sqlite.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        yield Finding(
            "sqlite.journal_mode",
            Severity.INFO,
            f"journal mode is {mode}",
            "nothing: prepare switches the file to WAL, and complete or abort switch it back",
        )
    yield from _revision(sqlite, source)
    yield from _held(path)
    yield from _room(sqlite, path)


def _integrity(sqlite: sqlite3.Connection) -> Iterator[Finding]:
    found = [row[0] for row in sqlite.execute(f"PRAGMA quick_check({_DAMAGE_SHOWN})")]
    # NOT NULL and CHECK violations are rows, not damage, and are reported as such.
    damage = [line for line in found if line != "ok" and not line.startswith(("NULL value in", "CHECK con"))]
    if damage:
        yield Finding(
            "sqlite.damaged",
            Severity.BLOCKS,
            f"the file is damaged: {damage[0]}",
            "restore it from a backup, or recover it with sqlite3's .recover",
            count=len(damage),
        )


def _revision(sqlite: sqlite3.Connection, source: SchemaSource) -> Iterator[Finding]:
    try:
        source.require_ready(sqlite)
    except Refused as refusal:
        code = refusal.codes[0] if refusal.codes else "schema.source"
        yield Finding(code, Severity.BLOCKS, refusal.message, refusal.hint or "")


def _chain() -> Iterator[Finding]:
    """What Alembic does in this checkout where it is not st-migrate that runs it."""
    folder = alembic_config("sqlite://").get_main_option("script_location")
    for habit in habits(Path(str(folder)) / "env.py"):
        yield Finding(habit.code, Severity.WARNS, habit.reason, habit.remedy)


def _held(path: Path) -> Iterator[Finding]:
    """Whether the file can be written now: take the write lock for an instant and change nothing."""
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        yield Finding(
            "sqlite.not_writable",
            Severity.BLOCKS,
            "this user may not write the file and its folder",
            "prepare has to install capture: run it as a user that may",
        )
        return
    uri = f"{path.absolute().as_uri()}?mode=rw"
    # st-lint: allow engine-outside-seam - tries the lock without waiting, which no connection of app.db does
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)) as probe:
        try:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise
            yield Finding(
                "sqlite.locked",
                Severity.WARNS,
                "another process holds the write lock at this moment",
                "nothing if it is a short transaction; prepare waits up to ST_SQLITE_BUSY_TIMEOUT_MS",
            )


def _room(sqlite: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    pages = sqlite.execute("PRAGMA page_count").fetchone()[0]
    size = pages * sqlite.execute("PRAGMA page_size").fetchone()[0]
    free = shutil.disk_usage(path.parent).free
    if free < size // 2:
        yield Finding(
            "sqlite.disk",
            Severity.WARNS,
            f"{free >> 20} MiB are free beside the file of {size >> 20} MiB; WAL and change log need room",
            "free some space before prepare",
        )
    yield Finding(
        "postgres.disk",
        Severity.INFO,
        f"the file holds {size >> 20} MiB; PostgreSQL will need about {(2 * size >> 20) + 64} MiB "
        "with its indexes, and as much again in WAL while copying",
        "see that its volume has that much",
    )
