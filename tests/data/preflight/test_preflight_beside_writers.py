"""Preflight beside writers: on a rollback journal no read lasts longer than one short statement."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.db.rows.catalog import Column, Table
from app.db.rows.kinds import Kind
from migration.preflight.reading import SHORT_READ, batches, one_state

ROWS = 2 * SHORT_READ + 10


def table(sqlite: sqlite3.Connection, suffix: str = "", columns: tuple[str, ...] = ("id", "v")) -> Table:
    declared = ", ".join(f"{name} INTEGER{' PRIMARY KEY' if name == 'id' else ''}" for name in columns)
    sqlite.execute(f"CREATE TABLE t ({declared}) {suffix}")
    sqlite.execute("BEGIN")
    sqlite.executemany(
        f"INSERT INTO t ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
        ((-5 + n, *([n % 7] * (len(columns) - 1))) for n in range(ROWS)),
    )
    sqlite.execute("COMMIT")
    made = tuple(Column(name, Kind.INTEGER, "bigint", True) for name in columns)
    return Table("t", made, made[:1])


def connect(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, isolation_level=None, timeout=0))


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_writer_commits_between_any_two_batches(tmp_path: Path, mode: str) -> None:
    with connect(tmp_path / "f.db") as writer, connect(tmp_path / "f.db") as reader:
        writer.execute(f"PRAGMA journal_mode = {mode}")
        read_table = table(writer)
        seen = []
        with one_state(reader):
            for batch in batches(reader, read_table):
                seen += batch
                writer.execute("UPDATE t SET v = 9 WHERE id = -5")  # fails at once if a reader is in the way
        assert [row[0] for row in seen] == [row[0] for row in writer.execute("SELECT id FROM t ORDER BY id")]


@pytest.mark.parametrize(
    ("suffix", "columns"), [("WITHOUT ROWID", ("id", "v")), ("", ("id", "ROWID"))], ids=["without", "hidden"]
)
def test_a_table_without_row_numbers_is_read_whole(
    tmp_path: Path, suffix: str, columns: tuple[str, ...]
) -> None:
    with connect(tmp_path / "f.db") as sqlite:
        read_table = table(sqlite, suffix, columns)
        rows = [row for batch in batches(sqlite, read_table) for row in batch]
        assert sorted(row[0] for row in rows) == list(range(-5, ROWS - 5))
