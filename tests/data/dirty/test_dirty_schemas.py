"""Every schema of the case table: preflight answers with exactly the stated finding, and changes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from dirty_cases import SchemaCase, schemas

from app.db.rows.policy import Policy
from migration.preflight.findings.report import Severity
from migration.preflight.run import run

# Remarks that follow from the file being a test's, or that go along with another finding.
ASIDES = {"schema.unknown_table", "schema.partial_index", "schema.view", "schema.drift"}


@pytest.mark.parametrize("case", schemas(), ids=lambda case: case.name)
def test_schema(tmp_path: Path, case: SchemaCase) -> None:
    path = tmp_path / "schema.db"
    with sqlite3.connect(path) as connection:
        for statement in case.sqlite:
            connection.execute(statement)
    connection.close()
    before = path.read_bytes()
    report = run(path, None, Policy())
    found = [item for item in report.findings if item.code == case.finding]
    if case.finding:
        assert found, [item.code for item in report.findings]
        assert found[0].reason == case.reason
        assert found[0].remedy
    if case.name.startswith("fail_"):
        assert found[0].severity is Severity.BLOCKS
    elsewhere = {item.code for item in report.blocking if item.table} - {case.finding} - ASIDES
    assert elsewhere <= case_companions(case)
    assert path.read_bytes() == before


def case_companions(case: SchemaCase) -> set[str]:
    """What else is wrong with a schema of which one thing is being looked at."""
    return {
        "fail_names_that_collide_when_cut": {"schema.long_name"},
    }.get(case.name, set())
