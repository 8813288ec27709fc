"""A Python file as the lint sees it: its tree, its escapes, its SQL texts and where each of their words stands."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ESCAPE = re.compile(r"#\s*st-lint:\s*allow\s+(?P<rule>[\w-]+)(?:\s+-\s+(?P<reason>\S.*))?")
# Calls whose first argument is SQL; `text` only where it is SQLAlchemy's.
_TAKE_SQL = frozenset(
    (
        "execute",
        "executemany",
        "executescript",
        "exec_driver_sql",
        "scalar",
        "scalars",
        "DDL",
        "CheckConstraint",
        "create_check_constraint",
        "literal_column",
        "text",
    )
)
_WRAP = frozenset(("bindparams", "columns", "execution_options"))  # methods of text() that give it back
PLACEHOLDER = "_x_"  # stands for what an f-string fills in


@dataclass(frozen=True)
class Escape:
    """A comment that allows a rule on its line."""

    line: int
    rule: str
    reason: str
    alone: bool  # nothing else is on the line, so it is about the next one


@dataclass(frozen=True)
class Sql:
    """An SQL text in the source, with the node that holds it."""

    text: str
    node: ast.expr


@dataclass(frozen=True)
class Spot:
    """A hazard at a node: the rule, what it is about, and a replacement of a node if that is mechanical."""

    rule: str
    node: Any
    about: str
    replace: ast.expr | ast.keyword | None = None
    by: str = ""


@dataclass
class Source:
    """One file.

    Raises:
        SyntaxError: it is not valid Python.
    """

    path: Path
    raw: bytes
    tree: ast.Module = field(init=False)
    escapes: list[Escape] = field(init=False)

    def __post_init__(self) -> None:
        self.tree = ast.parse(self.raw)
        self._starts = [0]
        for line in self.raw.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.escapes = list(_escapes(self.raw))
        self._constants = _constants(self.tree)
        self._statements = dict(_statements(self.tree))

    def span(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        """Where a node stands, in bytes from the start of the file."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def line_at(self, position: int) -> int:
        """The number of the line that holds a byte."""
        return next(n for n, start in enumerate(self._starts[1:], start=1) if position < start)

    def statement_at(self, line: int) -> set[int]:
        """The first and the last line of the statement that a line is part of, and the line itself."""
        return {line, *self._statements.get(line, ())}

    def find(self, sql: Sql, offset: int, length: int) -> tuple[int, int]:
        """Where a part of an SQL text stands in the file, in bytes: the same word, counted from its start."""
        wanted = sql.text[offset : offset + max(length, 1)]
        if length == 0:
            found = re.match(r"\w+|.", sql.text[offset:], re.S)
            wanted = found.group() if found else wanted
        earlier = sql.text.count(wanted, 0, offset)
        start, end = self.span(sql.node)
        position = start
        for _ in range(earlier + 1):
            found_at = self.raw.find(wanted.encode(), position, end)
            if found_at < 0:
                return start, start
            position = found_at + len(wanted.encode())
        return position - len(wanted.encode()), position

    def sql(self, call: ast.Call, depth: int = 0) -> Sql | None:
        """The SQL text that a call takes, if it takes one that stands in this file."""
        name, owner = called(call)
        if name not in _TAKE_SQL or (name == "text" and owner not in ("", "sa", "sqlalchemy")):
            return None
        wanted = 1 if name == "create_check_constraint" else 0
        values = [*call.args[wanted : wanted + 1], *(k.value for k in call.keywords if k.arg == "sqltext")]
        return self._text(values[0], depth) if values and depth < 5 else None

    def resolved(self, node: ast.expr) -> ast.expr:
        """What a name stands for, if the file assigns it once; any other expression itself."""
        return self._constants.get(node.id, node) if isinstance(node, ast.Name) else node

    def _text(self, node: ast.expr, depth: int) -> Sql | None:
        node = self.resolved(node)
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _WRAP:
            node = self.resolved(node.func.value)
        if isinstance(node, ast.Call):
            return self.sql(node, depth + 1)
        text = _as_text(node)
        return None if text is None else Sql(text, node)


def called(call: ast.Call) -> tuple[str, str]:
    """The name of what is called, and the name it is an attribute of."""
    return terminal(call.func), terminal(call.func.value) if isinstance(call.func, ast.Attribute) else ""


def terminal(node: ast.AST) -> str:
    """The last name of a dotted expression, the callee's for a call. Empty if there is none."""
    match node:
        case ast.Call(func=inner):
            return terminal(inner)
        case ast.Attribute(attr=name):
            return name
        case ast.Name(id=name):
            return name
    return ""


def _as_text(node: ast.expr) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_as_text(part) or PLACEHOLDER for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = (_as_text(left), _as_text(right))
            return None if texts == (None, None) else "".join(text or PLACEHOLDER for text in texts)
        case ast.BinOp(left=left, op=ast.Mod()):
            return _as_text(left)
        case ast.Call(func=ast.Attribute(value=inner, attr="format")):
            return _as_text(inner)
    return None


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Names that are assigned once in a file, with their values."""
    found: dict[str, ast.expr] = {}
    times: Counter[str] = Counter()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found[name] = value
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            times[node.id] += 1
    return {name: value for name, value in found.items() if times[name] == 1}


def _statements(tree: ast.Module) -> Iterator[tuple[int, tuple[int, int]]]:
    """For each line of a statement that holds no other statements its first and last line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not hasattr(node, "body") and node.end_lineno:
            for line in range(node.lineno, node.end_lineno + 1):
                yield line, (node.lineno, node.end_lineno)


def _escapes(raw: bytes) -> Iterator[Escape]:
    for token in tokenize.tokenize(io.BytesIO(raw).readline):
        if token.type == tokenize.COMMENT and (found := _ESCAPE.match(token.string)):
            alone = not token.line[: token.start[1]].strip()
            yield Escape(token.start[0], found["rule"], (found["reason"] or "").strip(), alone)
