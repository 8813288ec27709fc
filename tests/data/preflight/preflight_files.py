"""Small SQLite files for preflight to look at."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from app.db.rows.policy import Policy
from migration.preflight.findings.report import Finding, Report
from migration.preflight.run import run


def sqlite_file(path: Path, *statements: str) -> Path:
    """A file made by these statements, as the `sqlite3` shell would make it."""
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


def about_tables(report: Report) -> list[Finding]:
    """The findings that concern a table, without the remark that no model declares it."""
    return [item for item in report.findings if item.table and item.code != "schema.unknown_table"]


def codes(path: Path, policy: Policy | None = None) -> set[str]:
    """The codes of all findings about a file."""
    return {item.code for item in run(path, None, policy or Policy()).findings}
