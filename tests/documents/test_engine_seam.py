"""What differs between the engines stands behind one contract: siblings do not know each other, and nobody asks which."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DB = ROOT / "backend" / "app" / "db"
ENGINES = {"SqliteStore", "SqliteSource", "SqliteTarget", "PostgresStore", "PostgresSource", "PostgresTarget"}


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, module) of every import below a folder."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield path.name, node.module
                yield from ((path.name, f"{node.module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((path.name, alias.name) for alias in node.names)


@pytest.mark.parametrize(
    ("folder", "unknown"),
    [
        ("sides/sqlite", "app.db.sides.postgres"),
        ("sides/postgres", "app.db.sides.sqlite"),
        ("rows", "app.db.sides"),
    ],
)
def test_it_does_not_know(folder: str, unknown: str) -> None:
    found = list(imports(DB / folder))
    assert found
    assert [item for item in found if re.match(rf"{re.escape(unknown)}(\.|$)", item[1])] == []


def test_no_code_asks_which_engine_it_has() -> None:
    asking = []
    for path in [*DB.rglob("*.py"), *(ROOT / "migration").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "type"):
                named = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                asking += [(path.name, node.lineno)] if named & ENGINES else []
    assert asking == []


@pytest.mark.parametrize("made", ["SqliteSource", "SqliteTarget", "PostgresSource", "PostgresTarget"])
def test_only_its_store_makes_a_source_or_a_target(made: str) -> None:
    files = [
        path.relative_to(ROOT).as_posix()
        for path in [*DB.rglob("*.py"), *(ROOT / "migration").rglob("*.py")]
        if re.search(rf"\b{made}\(", path.read_text(encoding="utf-8").replace(f"class {made}(", ""))
    ]
    engine = "sqlite" if made.startswith("Sqlite") else "postgres"
    assert files == [f"backend/app/db/sides/{engine}/store.py"]
