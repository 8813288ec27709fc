"""The verb that looks at code and not at databases: lint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migration.common.outcome import Exit, Outcome
from migration.lint import run as lint
from migration.verbs.frame import Call, verb

Paths = Annotated[list[Path], typer.Argument(exists=True, help="Python files, or folders of them.")]
Fix = Annotated[bool, typer.Option("--fix", help="Replace what can be replaced mechanically.")]


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    verb(app, "lint")(show_findings)


def show_findings(call: Call, paths: Paths, fix: Fix = False) -> Outcome:
    """Name what would break or change its meaning on PostgreSQL, by file and line. Opens no database."""
    found = lint.run(paths, fix)
    left = [finding for finding in found if not finding.fixed]
    message = f"{len(left)} findings" + (f", {len(found) - len(left)} fixed" if fix else "")
    return Outcome(
        "findings" if left else "clean",
        message,
        Exit.FINDINGS if left else Exit.DONE,
        {"findings": [finding.as_json() for finding in found]},
        [str(finding) for finding in found],
    )
