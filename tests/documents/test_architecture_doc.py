"""docs/architecture.md is true: it names every folder, module and table, and dependencies point one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.db.common.urls import Side
from app.db.sides import tables

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = {"app.db": ROOT / "backend" / "app" / "db", "migration": ROOT / "migration"}
MOST_ENTRIES = 9
MOST_LINES = 350


def _rows(heading: str) -> list[list[str]]:
    section = TEXT.split(f"## {heading}")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _order(package: str) -> list[str]:
    """Every module of a package as `folder/module`, in the order of the document."""
    return [
        f"{folder}/{name}".removeprefix("top/")
        for row in _rows(f"`{package}`")
        for folder in [row[0].strip("`")]
        for name in re.findall(r"`(\w+)`", row[1])
    ]


def _modules(package: str) -> list[str]:
    root = PACKAGES[package]
    found = (path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.py"))
    return sorted(name for name in found if not name.endswith("__init__"))


def _used_by(package: str, module: str) -> set[str]:
    """The modules of the package that one imports; a folder's own names count as its first user's."""
    modules = set(_modules(package))
    used: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGES[package] / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            used.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            used.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    prefix = f"{package}."
    return {name.removeprefix(prefix).replace(".", "/") for name in used if name.startswith(prefix)} & modules


_EACH = [(package, module) for package in PACKAGES for module in _modules(package)]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_named_once(package: str) -> None:
    assert sorted(_order(package)) == _modules(package)


@pytest.mark.parametrize(("package", "module"), _EACH)
def test_a_module_uses_only_what_stands_before_it(package: str, module: str) -> None:
    order = _order(package)
    assert _used_by(package, module) - {module} <= set(order[: order.index(module)])


@pytest.mark.parametrize("top", ["backend/app/db", "migration", "loadtests", "tests"])
def test_no_folder_has_more_entries_than_a_reader_takes_in(top: str) -> None:
    crowded = {}
    for folder in [ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir())]:
        if {"facts", "cases", "versions", "__pycache__"} & set(folder.parts):
            continue
        entries = [e.name for e in folder.iterdir() if not e.name.startswith(("__", ".", "conftest"))]
        if len(entries) > MOST_ENTRIES:
            crowded[folder.relative_to(ROOT).as_posix()] = len(entries)
    assert crowded == {}


@pytest.mark.parametrize("top", ["backend/app", "migration", "loadtests", "tests"])
def test_no_module_is_longer_than_one_sitting_reads(top: str) -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / top).rglob("*.py")
    }
    assert {p.relative_to(ROOT).as_posix(): n for p, n in lengths.items() if n > MOST_LINES} == {}


def test_every_bookkeeping_table_is_named() -> None:
    named = {name for row in _rows("Where state lives") for name in re.findall(r"`(st_\w+)`", row[1])}
    assert named == {*tables.names(Side.SQLITE), *tables.names(Side.POSTGRES)}


def test_nothing_in_the_backend_imports_the_command_line() -> None:
    importing = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "backend" / "app").rglob("*.py")
        if re.search(r"^\s*(?:from|import) migration\b", path.read_text(encoding="utf-8"), re.M)
    ]
    assert importing == []


def test_a_command_starts_without_what_few_commands_need() -> None:
    code = "import migration.verbs.cli, sys; print(*{'alembic', 'mako', 'sqlalchemy.orm'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'backend'}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=lambda path: path.stem)
def test_a_decision_says_context_decision_and_consequences(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem[:4]} ")
    assert [part for part in ("**Context.**", "**Decision.**", "**Consequences.**") if part not in text] == []
