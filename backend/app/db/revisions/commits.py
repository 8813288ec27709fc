"""Revisions that commit by themselves, found in their source before anything starts.

On a live pair a migration owns the other side's fence and lock from its first statement to its commit. A
commit in between ends both too early. There is one way that is safe: Alembic's `autocommit_block()`, which
`blocks` surrounds with what the pair needs. Everything else is refused here, while nothing has been done on
either side. What the source does not show is stopped when it is executed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What splits no statement: comments, texts, names in quotes, and bodies of functions.
_WHOLE = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?P<body>\$\w*\$).*?(?P=body)", re.S
)
_HAS_BODY = re.compile(r"\bTRIGGER\b|\bBEGIN\s+ATOMIC\b", re.I)
_WRITES_ROWS = re.compile(r"(?:INSERT|UPDATE|DELETE|REPLACE|MERGE|WITH|TRUNCATE|COPY)\b", re.I)
_ENDS_TRANSACTION = re.compile(
    r"(?:COMMIT|END|ABORT|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)|PREPARE\s+TRANSACTION|BEGIN|START\s+TRANSACTION)"
    r"(?:[\s,]+(?:WORK|TRANSACTION|IMMEDIATE|EXCLUSIVE|DEFERRED|AND|NO|CHAIN|PREPARED\b.*|'.*|ISOLATION|LEVEL"
    r"|SERIALIZABLE|REPEATABLE|COMMITTED|UNCOMMITTED|READ|ONLY|WRITE|NOT|DEFERRABLE))*$",
    re.I | re.S,
)
_ALONE = re.compile(
    r"(?:VACUUM\b|REINDEX\b.*\bCONCURRENTLY\b|(?:CREATE|DROP)\b.*\bINDEX\s+CONCURRENTLY\b|ALTER\s+SYSTEM\b|CREATE\s+DATABASE\b)",
    re.I | re.S,
)
_EXECUTES = frozenset(("execute", "exec_driver_sql", "text", "executescript", "scalar", "scalars"))
_ASKS = frozenset(("get_context", "get_bind", "f", "inline_literal", "invoke"))


def statements(text: str) -> list[str]:
    """The statements of a text, without comments; one that has a body of statements is one."""

    def plain(found: re.Match[str]) -> str:
        return " " if found["comment"] else found[0].replace(";", " ")

    bare = _WHOLE.sub(plain, text)
    parts = [bare] if _HAS_BODY.search(bare) else bare.split(";")
    return [part.strip() for part in parts if part.strip(" \t\r\n;")]


def ends_transaction(statement: str) -> bool:
    """Whether one of `statements` begins or ends a transaction."""
    return _ENDS_TRANSACTION.match(statement) is not None


def writes_rows(statement: str) -> bool:
    """Whether one of `statements` writes rows."""
    return _WRITES_ROWS.match(statement) is not None


@dataclass(frozen=True)
class Commit:
    """One place: `line` of the revision's file, what stands there, and what to write instead."""

    line: int
    what: str
    instead: str


def commits_in(source: str, function: str) -> list[Commit]:
    """The places at which a revision would commit by itself, or write outside of its transaction.

    Args:
        source: the revision's text.
        function: `upgrade` or `downgrade`; the other one does not run.
    """
    other = "downgrade" if function == "upgrade" else "upgrade"
    reader = _Reader()
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.FunctionDef) and node.name == other):
            reader.read(node, ())
    return sorted({*reader.found, *reader.late()}, key=lambda commit: commit.line)


def commits_of(steps: list[Any]) -> list[str]:
    """The same for Alembic's steps, one text per place. Steps without a file, such as a stamp, have none."""
    found = []
    for step in steps:
        path = getattr(getattr(step, "revision", None), "path", None)
        if path is None:
            continue
        text = Path(path).read_text(encoding="utf-8")
        for commit in commits_in(text, "upgrade" if step.is_upgrade else "downgrade"):
            found.append(f"{Path(path).name}, line {commit.line}: {commit.what}; {commit.instead}")
    return found


Branches = tuple[tuple[int, str], ...]  # the ifs around a place, and in which branch of each it stands


class _Reader:
    """Walks a revision once, knowing whether it stands in an autocommit block and in which branches."""

    def __init__(self) -> None:
        self.found: list[Commit] = []
        self._bound: set[str] = set()  # names that hold the migrating connection
        self._blocks: list[tuple[int, Branches]] = []
        self._operations: list[tuple[int, Branches]] = []

    def read(self, node: ast.AST, branches: Branches, *, in_block: bool = False) -> None:
        if isinstance(node, ast.If | ast.IfExp):
            self.read(node.test, branches, in_block=in_block)
            for name in ("body", "orelse"):
                part = getattr(node, name)
                for child in part if isinstance(part, list) else [part]:
                    self.read(child, (*branches, (id(node), name)), in_block=in_block)
            return
        if isinstance(node, ast.With) and any(
            _name(item.context_expr) == "autocommit_block" for item in node.items
        ):
            self._blocks.append((node.lineno, branches))
            for child in node.body:
                self.read(child, branches, in_block=True)
            return
        if isinstance(node, ast.Assign) and _name(node.value) in ("get_bind", "raw_connection"):
            self._bound.update(target.id for target in node.targets if isinstance(target, ast.Name))
        if isinstance(node, ast.Call):
            self._call(node, branches, in_block)
        for child in ast.iter_child_nodes(node):
            self.read(child, branches, in_block=in_block)

    def _call(self, node: ast.Call, branches: Branches, in_block: bool) -> None:
        name = _name(node)
        if not in_block and _root(node) == "op" and name not in (*_ASKS, "autocommit_block"):
            self._operations.append((node.lineno, branches))
        if name in ("commit", "rollback") and _root(node) in (*self._bound, "op"):
            self._note(node, f"it calls {name}()", "leave that to the migration")
        if in_block and name == "bulk_insert":
            self._note(node, "it writes rows in an autocommit block", "write them in a revision without one")
        concurrently = any(
            keyword.arg == "postgresql_concurrently" and _is_true(keyword.value) for keyword in node.keywords
        )
        if concurrently and not in_block:
            self._note(
                node, "it builds an index concurrently", "put that into op.get_context().autocommit_block()"
            )
        if name in _EXECUTES:
            for text in (text for argument in node.args[:1] for text in _texts(argument)):
                self._text(node, text, in_block)

    def _text(self, node: ast.Call, text: str, in_block: bool) -> None:
        for statement in statements(text):
            if ends_transaction(statement):
                self._note(node, f"it executes {statement}", "use op.get_context().autocommit_block()")
            elif _ALONE.match(statement) and not in_block:
                self._note(
                    node,
                    f"{' '.join(statement.split()[:3])} runs outside of transactions only",
                    "put it into op.get_context().autocommit_block()",
                )
            elif in_block and writes_rows(statement):
                self._note(
                    node, "it writes rows in an autocommit block", "write them in a revision without one"
                )

    def late(self) -> Iterator[Commit]:
        """Blocks that do not come first: what stands before them would be committed without its version."""
        for line, branches in self._blocks:
            if any(before < line and not _apart(branches, others) for before, others in self._operations):
                yield Commit(
                    line,
                    "an autocommit block does not come first",
                    "give it a revision of its own, or nobody could finish that one after a crash",
                )

    def _note(self, node: ast.AST, what: str, instead: str) -> None:
        self.found.append(Commit(getattr(node, "lineno", 0), what, instead))


def _apart(some: Branches, others: Branches) -> bool:
    """Whether two places stand in different branches of one if, so that only one of them runs."""
    theirs = dict(others)
    return any(theirs.get(which, branch) != branch for which, branch in some)


def _name(node: ast.AST) -> str:
    """The last name of a call: `commit` of `op.get_bind().commit()`."""
    function = node.func if isinstance(node, ast.Call) else node
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _root(node: ast.AST) -> str:
    """The first name of a chain of attributes and calls."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_true(node: ast.AST) -> bool:
    return not (isinstance(node, ast.Constant) and not node.value)


def _texts(node: ast.AST) -> Iterator[str]:
    """The literal texts of an argument; of an f-string what stands before the first value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr) and node.values:
        yield from _texts(node.values[0])
    elif isinstance(node, ast.Call):
        yield from (text for argument in node.args[:1] for text in _texts(argument))
