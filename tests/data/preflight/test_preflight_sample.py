"""The made database: preflight explains every surprise that its maker has put in, and nothing else."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.db.rows.policy import Policy
from loadtests.stage.sample import surprises
from migration.preflight.findings.report import Finding, Report, Severity
from migration.preflight.run import run


@pytest.fixture(scope="module")
def sample(sample_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(sample_file, tmp_path_factory.mktemp("preflight") / "sigma_trader.db"))


@pytest.fixture(scope="module")
def report(sample: Path) -> Report:
    return run(sample, None, Policy())


def of(report: Report, code: str) -> dict[tuple[str, str], Finding]:
    return {(item.table, item.column): item for item in report.findings if item.code == code}


def test_nothing_blocks_and_every_row_was_read(report: Report) -> None:
    assert report.clean, report.blocking
    assert report.tables == len(surprises.ROWS) == 53
    assert report.rows == sum(surprises.ROWS.values())


def test_orphans(report: Report, sample: Path) -> None:
    found = of(report, "row.orphan")
    assert {place: item.count for place, item in found.items()} == {
        (item.table, item.column): item.rows for item in surprises.ORPHANS
    }
    for item in surprises.ORPHANS:
        assert item.parent in found[item.table, item.column].reason
    with closing(sqlite3.connect(sample)) as connection:
        listed = connection.execute("PRAGMA foreign_key_check").fetchall()
        for item in surprises.ORPHANS:
            key = found[item.table, item.column].keys[0]
            gone = surprises.GONE[item.parent][0]
            query = f"SELECT {item.column} FROM {item.table} WHERE id = ?"
            assert connection.execute(query, (key,)).fetchone() == (gone,)
    assert len(listed) == sum(item.count for item in found.values()) == 781


def test_long_texts(report: Report, sample: Path) -> None:
    found = of(report, "value.long_text")
    assert {place: item.count for place, item in found.items()} == {
        (item.table, item.column): item.rows for item in surprises.LONG_TEXTS
    }
    with closing(sqlite3.connect(sample)) as connection:
        for item in surprises.LONG_TEXTS:
            key = found[item.table, item.column].keys[0]
            query = f"SELECT length({item.column}) FROM {item.table} WHERE id = ?"
            assert connection.execute(query, (key,)).fetchone() == (item.longest,)


def test_integers_beyond_32_bits(report: Report) -> None:
    assert {place: item.count for place, item in of(report, "value.integer_32").items()} == {
        (item.table, item.column): item.rows for item in surprises.WIDE_INTEGERS
    }


def test_all_of_it_is_only_information(report: Report) -> None:
    assert {item.severity for item in report.findings} == {Severity.INFO}


def test_the_file_is_untouched(sample_file: Path, sample: Path, report: Report) -> None:
    assert report.rows
    before, after = (hashlib.sha256(path.read_bytes()).digest() for path in (sample_file, sample))
    assert before == after
    assert [path.name for path in sample.parent.iterdir()] == [sample.name]
