"""The sample database of the real application: preflight explains every surprise that its manifest lists."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.db.rows.policy import Policy
from migration.preflight.findings.report import SHOWN_KEYS, Finding, Report, Severity
from migration.preflight.run import run


@pytest.fixture(scope="module")
def manifest(facts: Path) -> dict[str, Any]:
    return json.loads((facts / "sample" / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sample(facts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "sigma_trader.db"
    with gzip.open(facts / "sample" / "sigma_trader.db.gz") as packed, path.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    return path


@pytest.fixture(scope="module")
def report(sample: Path) -> Report:
    return run(sample, None, Policy())


def of(report: Report, code: str) -> dict[tuple[str, str], Finding]:
    return {(item.table, item.column): item for item in report.findings if item.code == code}


def test_nothing_blocks_and_every_row_was_read(report: Report, manifest: dict[str, Any]) -> None:
    assert report.clean, report.blocking
    assert report.tables == manifest["table_count_without_alembic_version"]
    assert report.rows == sum(
        table["rows"] for name, table in manifest["tables"].items() if name != "alembic_version"
    )


def test_orphans(report: Report, manifest: dict[str, Any]) -> None:
    found = of(report, "row.orphan")
    listed = manifest["surprises"]["foreign_key_orphans"]
    assert found.keys() == {(item["table"], item["column"]) for item in listed}
    for item in listed:
        orphan = found[item["table"], item["column"]]
        assert orphan.count == item["rows"]
        assert orphan.keys[: len(item["ids"])] == tuple(map(str, item["ids"]))[:SHOWN_KEYS]
        assert (item["parent"] in orphan.reason, item["on_delete"] in orphan.reason) == (True, True)
    assert sum(orphan.count for orphan in found.values()) == manifest["foreign_key_check_rows"] == 781


def test_long_texts(report: Report, manifest: dict[str, Any]) -> None:
    found = of(report, "value.long_text")
    listed = manifest["surprises"]["strings_longer_than_declared"]
    assert {place: item.count for place, item in found.items()} == {
        (item["table"], item["column"]): item["rows"] for item in listed
    }
    for item in listed:
        assert set(map(str, item["ids"])) <= set(found[item["table"], item["column"]].keys)


def test_integers_beyond_32_bits(report: Report, manifest: dict[str, Any]) -> None:
    listed = manifest["surprises"]["integers_beyond_32_bits"]
    assert {place: item.count for place, item in of(report, "value.integer_32").items()} == {
        (item["table"], item["column"]): item["rows"] for item in listed
    }


def test_all_of_it_is_only_information(report: Report) -> None:
    assert {item.severity for item in report.findings} == {Severity.INFO}


def test_the_file_is_untouched(sample: Path, report: Report, manifest: dict[str, Any]) -> None:
    assert report.rows
    assert hashlib.sha256(sample.read_bytes()).hexdigest() == manifest["sha256_uncompressed"]
    assert [path.name for path in sample.parent.iterdir()] == [sample.name]
