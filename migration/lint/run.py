"""`st-migrate lint`: names by file and line what would break or change its meaning on PostgreSQL.

Python files are read, not run. SQL is looked for in the texts handed to text(), execute() and their like,
hazards in it on tokens, so that literals and comments do not count. Which names are Boolean columns is learnt
from all files of the call together.

A finding is allowed by `# st-lint: allow RULE - reason` on its line, on the first or last line of its statement,
or alone on the line before.
The session layer itself (app/db, this package) speaks to each side in its own dialect, so rules about dialect
do not apply there; only app/db may open connections.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from migration.common.environment import habits
from migration.lint import python as lint_python
from migration.lint import sql as lint_sql
from migration.lint.python import Names
from migration.lint.rules import RULES
from migration.lint.source import Escape, Source, Sql

_HERE = Path(__file__).resolve().parent
_SKIPPED = frozenset((".venv", "__pycache__", ".git", "node_modules", "build", "site-packages"))
_EVERYWHERE = frozenset(("bare-escape", "unused-escape", "syntax"))


@dataclass(frozen=True)
class Edit:
    """Bytes to replace."""

    start: int
    end: int
    by: str


@dataclass(frozen=True)
class Finding:
    """One hazard.

    `line` counts from 1. `fixed` says that the file has been changed; `edit` is how it would be.
    """

    path: str
    line: int
    rule: str
    severity: str
    about: str
    means: str
    remedy: str
    fixable: bool = False
    fixed: bool = False
    edit: Edit | None = None

    def as_json(self) -> dict[str, Any]:
        """What --json prints of it."""
        return {name: value for name, value in asdict(self).items() if name != "edit"}

    def __str__(self) -> str:
        state = " (fixed)" if self.fixed else ""
        return f"{self.path}:{self.line}: {self.severity} {self.rule}: {self.about} - {self.means}; {self.remedy}{state}"


def run(paths: Sequence[Path], fix: bool = False) -> list[Finding]:
    """Look at files, or at all Python files under folders.

    Args:
        fix: replace what can be replaced mechanically; the rest of the text stays as it is.

    Returns:
        The findings in the order of files and lines; those that were mended are marked `fixed`.

    Raises:
        OSError: a path cannot be read.
    """
    read = [(path, path.read_bytes()) for path in _files(paths)]
    sources, findings = _parse(read)
    names = lint_python.gather(sources)
    for source in sources:
        found = list(_findings(source, names))
        findings += _fixed(source, found) if fix else found
    return sorted(findings, key=lambda f: (f.path, f.line, f.rule))


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (p for p in sorted(path.rglob("*.py")) if not _SKIPPED & set(p.parts))
        else:
            yield path


def _parse(read: Iterable[tuple[Path, bytes]]) -> tuple[list[Source], list[Finding]]:
    sources: list[Source] = []
    findings: list[Finding] = []
    for path, raw in read:
        try:
            sources.append(Source(path, raw))
        except (SyntaxError, ValueError) as error:
            findings.append(_finding(path, getattr(error, "lineno", None) or 1, "syntax", str(error)))
    return sources, findings


def _finding(path: Path, line: int, rule: str, about: str, edit: Edit | None = None) -> Finding:
    found = RULES[rule]
    return Finding(
        str(path),
        line,
        rule,
        found.severity,
        " ".join(about.split()),
        found.means,
        found.remedy,
        edit is not None,
        edit=edit,
    )


def _findings(source: Source, names: Names) -> Iterator[Finding]:
    """What is found in a file and not allowed there, and escapes that are wrong."""
    used: set[Escape] = set()
    for finding, lines in _candidates(source, names):
        allowing = [e for e in source.escapes if e.rule == finding.rule and e.line + e.alone in lines]
        used.update(allowing)
        if not allowing:
            yield finding
    for escape in source.escapes:
        if not escape.reason:
            yield _finding(source.path, escape.line, "bare-escape", f"allow {escape.rule}")
        elif escape not in used:
            yield _finding(source.path, escape.line, "unused-escape", f"allow {escape.rule}")


def _candidates(source: Source, names: Names) -> Iterator[tuple[Finding, set[int]]]:
    """Hazards with the lines on which an escape may stand: their own, and the statement's first and last."""
    applies = _scope(source)
    if source.path.name == "env.py":
        for habit in habits(source.path):
            yield _finding(source.path, 1, habit.rule, "env.py"), {1}
    for spot in lint_python.check(source, names):
        if spot.rule in applies:
            edit = Edit(*source.span(spot.replace), spot.by) if spot.replace is not None else None
            finding = _finding(source.path, spot.node.lineno, spot.rule, spot.about, edit)
            yield finding, source.statement_at(spot.node.lineno) | {spot.node.end_lineno}
    for sql in _texts(source):
        for hit in lint_sql.check(sql.text, names.booleans, names.columns):
            if hit.rule not in applies:
                continue
            start, end = source.find(sql, hit.offset, hit.length)
            edit = Edit(start, end, hit.replacement) if hit.replacement and end > start else None
            line = source.line_at(start)
            lines = source.statement_at(line) | {sql.node.lineno, sql.node.end_lineno or line}
            yield _finding(source.path, line, hit.rule, hit.about, edit), lines


def _texts(source: Source) -> Iterator[Sql]:
    """Each SQL text once, though several calls may take it."""
    seen: set[tuple[int, int]] = set()
    for node in ast.walk(source.tree):
        sql = source.sql(node) if isinstance(node, ast.Call) else None
        if sql is not None and source.span(sql.node) not in seen:
            seen.add(source.span(sql.node))
            yield sql


def _scope(source: Source) -> frozenset[str]:
    """The rules that apply to a file."""
    path = source.path.resolve()
    if "/app/db/" in path.as_posix():
        return _EVERYWHERE
    if path.parent == _HERE:
        return _EVERYWHERE | {"engine-outside-seam"}
    if lint_python.is_chain(source) and _run_by_us(path):
        return frozenset(rule.id for rule in RULES.values() if not rule.handled)
    return frozenset(RULES)


def _run_by_us(revision: Path) -> bool:
    """Whether the chain's env.py has its revisions run by app.db."""
    for folder in list(revision.parents)[:3]:
        environment = folder / "env.py"
        if environment.is_file():
            return "app.db.revisions." in environment.read_text()
    return False


def _fixed(source: Source, findings: list[Finding]) -> list[Finding]:
    """Replace what can be replaced, from the end to the start so that positions stay right."""
    edits = {finding.edit for finding in findings if finding.edit is not None}
    raw = source.raw
    for edit in sorted(edits, key=lambda e: e.start, reverse=True):
        raw = raw[: edit.start] + edit.by.encode() + raw[edit.end :]
    if edits:
        source.path.write_bytes(raw)
    return [replace(finding, fixed=finding.edit is not None) for finding in findings]
