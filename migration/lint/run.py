"""`st-migrate lint`: names by file and line what would break or change its meaning on PostgreSQL.

Python files are read, not run. SQL is looked for in the texts handed to text(), execute() and their like.
Hazards in it are looked for on tokens, so that literals and comments do not count. Which names are Boolean
columns is learnt from all files of the call together. So are nullable and unique columns, for the order of
rows.

`# st-lint: allow RULE - reason` allows a finding. It stands on the finding's line, on the first or last line
of its statement, or alone on the line before. The session layer itself (app/db, this package) speaks to each
side in its own dialect, so rules about dialect do not apply there. Only app/db may open connections.
"""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from migration.common.environment import habits
from migration.lint import columns, statements
from migration.lint import python as lint_python
from migration.lint.columns import Names
from migration.lint.rules import RULES
from migration.lint.source import Escape, Source, Sql
from migration.lint.sql import check as lint_sql

_OURS = Path(__file__).resolve().parents[1]
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


@dataclass(frozen=True)
class Report:
    """What a call of the lint gave.

    `handled` counts by rule the hazards of chains that app.db runs and that it takes care of there.
    """

    findings: list[Finding]
    files: int
    handled: Counter[str]


def run(paths: Sequence[Path], fix: bool = False) -> Report:
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
    names = columns.gather(sources)
    handled: Counter[str] = Counter()
    elsewhere: dict[Path, Counter[str]] = {}
    for source in sources:
        found = list(_findings(source, names))
        env = _environment(source)
        if env is not None and (ours := _run_by_us(env) or _beside_app_db(env)):
            left = [finding for finding in found if not RULES[finding.rule].handled]
            counts = Counter(finding.rule for finding in found if RULES[finding.rule].handled)
            found = left
            if _run_by_us(env):
                handled += counts
            elif ours:
                elsewhere.setdefault(env, Counter()).update(counts)
        findings += _fixed(source, found) if fix else found
    for env, counts in elsewhere.items():
        if counts:
            findings.append(_finding(env, 1, "chain-run-otherwise", in_words(counts)))
    return Report(sorted(findings, key=lambda f: (f.path, f.line, f.rule)), len(read), handled)


def in_words(counts: Counter[str]) -> str:
    """How often each rule was met."""
    return f"{counts.total()} places ({', '.join(f'{rule} {n}' for rule, n in sorted(counts.items()))})"


def _files(paths: Iterable[Path]) -> list[Path]:
    """The files to read, each once; what is skipped is skipped below the given folders only."""
    found: dict[Path, Path] = {}
    for given in paths:
        for path in sorted(_under(given)) if given.is_dir() else [given]:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _under(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _skipped(Path(here, name))]
        yield from (Path(here, name) for name in files if name.endswith(".py"))


def _skipped(folder: Path) -> bool:
    """Whether a folder holds what others wrote, or what a tool made."""
    return folder.name in _SKIPPED or (folder / "pyvenv.cfg").is_file()


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
    for spot in chain(lint_python.check(source), statements.check(source, names)):
        if spot.rule in applies:
            edit = Edit(*source.span(spot.replace), spot.by) if spot.replace is not None else None
            finding = _finding(source.path, spot.node.lineno, spot.rule, spot.about, edit)
            yield finding, source.statement_at(spot.node.lineno) | {spot.node.end_lineno}
    for sql in _texts(source):
        for hit in lint_sql.check(sql.text, names):
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
    if _OURS in path.parents:
        return _EVERYWHERE | {"engine-outside-seam"}
    return frozenset(RULES)


def _environment(source: Source) -> Path | None:
    """The env.py of the chain that a file is a revision of."""
    if not lint_python.is_chain(source):
        return None
    folders = list(source.path.resolve().parents)[:3]
    return next((folder / "env.py" for folder in folders if (folder / "env.py").is_file()), None)


def _run_by_us(environment: Path) -> bool:
    """Whether the chain's env.py has its revisions run by app.db."""
    return "app.db.revisions." in environment.read_text(encoding="utf-8", errors="replace")


def _beside_app_db(environment: Path) -> bool:
    """Whether app.db stands beside the chain, so that `prepare` runs the chain by it."""
    return (environment.parent.parent / "app" / "db" / "revisions" / "pair.py").is_file()


def _fixed(source: Source, findings: list[Finding]) -> list[Finding]:
    """Replace what can be replaced, from the end to the start so that positions stay right."""
    edits = {finding.edit for finding in findings if finding.edit is not None}
    raw = source.raw
    for edit in sorted(edits, key=lambda e: e.start, reverse=True):
        raw = raw[: edit.start] + edit.by.encode() + raw[edit.end :]
    if edits:
        source.path.write_bytes(raw)
    return [replace(finding, fixed=finding.edit is not None) for finding in findings]
