"""docs/architecture.md is true: it names every module and table, and dependencies point one way."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from app.db.common.urls import Side
from app.db.sides import tables

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "backend" / "app" / "db"
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[str]:
    section = TEXT.split(f"## {heading}")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def _order() -> list[str]:
    return [
        name for row in _rows("Modules, by dependency") for name in re.findall(r"`(\w+)`", row.split("|")[2])
    ]


def _modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def _used_by(module: str) -> set[str]:
    """The modules of the package that one imports."""
    used: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "app.db":
            used.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("app.db."):
            used.add((node.module or "").split(".")[2])
    return used - {module}


def test_every_module_is_named_once() -> None:
    assert sorted(_order()) == sorted([*_modules(), "sql"])


@pytest.mark.parametrize("module", _modules())
def test_a_module_uses_only_what_stands_before_it(module: str) -> None:
    order = _order()
    assert _used_by(module) <= set(order[: order.index(module)])


def test_every_bookkeeping_table_is_named() -> None:
    named = {name for row in _rows("Where state lives") for name in re.findall(r"`(st_\w+)`", row)}
    assert named == {*tables.names(Side.SQLITE), *tables.names(Side.POSTGRES)}


def test_nothing_in_the_backend_imports_the_command_line() -> None:
    importing = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "backend" / "app").rglob("*.py")
        if re.search(r"^\s*(?:from|import) migration\b", path.read_text(encoding="utf-8"), re.M)
    ]
    assert importing == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=lambda path: path.stem)
def test_a_decision_says_context_decision_and_consequences(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem[:4]} ")
    assert [part for part in ("**Context.**", "**Decision.**", "**Consequences.**") if part not in text] == []
