"""The verb that looks at code and not at databases: lint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.db.common.errors import ConfigurationError
from migration.common.outcome import Exit, Outcome
from migration.common.plain import counted
from migration.lint import run as lint
from migration.verbs.frame import Call, verb

Paths = Annotated[list[Path], typer.Argument(exists=True, help="Python files, or folders of them.")]
Fix = Annotated[bool, typer.Option("--fix", help="Replace what can be replaced mechanically.")]


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    verb(app, "lint")(show_findings)


def show_findings(call: Call, paths: Paths, fix: Fix = False) -> Outcome:
    """Name what would break or change its meaning on PostgreSQL, by file and line. Opens no database."""
    report = lint.run(paths, fix)
    if not report.files:
        raise ConfigurationError(
            f"no Python file was read under {', '.join(map(str, paths))}",
            hint="name the folder that holds the application's code, or files",
        )
    found = report.findings
    left = [finding for finding in found if not finding.fixed]
    message = f"{counted(len(left), 'finding')} in {counted(report.files, 'file')}"
    lines = [str(finding) for finding in found]
    if report.handled:
        lines.append(f"app.db runs the chain and takes care of {lint.in_words(report.handled)}")
    return Outcome(
        "findings" if left else "clean",
        message + (f", {len(found) - len(left)} fixed" if fix else ""),
        Exit.FINDINGS if left else Exit.DONE,
        {
            "files": report.files,
            "findings": [finding.as_json() for finding in found],
            "handled": dict(sorted(report.handled.items())),
        },
        lines,
    )
