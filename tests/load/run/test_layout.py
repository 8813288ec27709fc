"""The drawing of `loadtests` in the documents shows what is there, and its order is the order of imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.stage.processes import REPO, python_env

HOME = REPO / "loadtests"
ENTRIES = {path.stem for path in HOME.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
MODULES = sorted(path for path in HOME.rglob("*.py") if path.parent != HOME)


def drawn() -> list[str]:
    """Names in the drawing, from top to bottom."""
    text = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = text.partition("```\nloadtests/\n")[2].partition("```")[0]
    return re.findall(r"^  (\w+)(?:\.py|/) ", drawing, re.MULTILINE)


def used(module: Path) -> set[str]:
    """Entries of `loadtests` that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("loadtests.")}


def test_the_drawing_shows_what_is_there() -> None:
    assert set(drawn()) == ENTRIES - {"__init__"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(HOME)))
def test_a_module_uses_only_folders_above_its_own(module: Path) -> None:
    order = drawn()
    own = order.index(module.relative_to(HOME).parts[0])
    assert used(module) <= set(order[: own + 1])


@pytest.mark.parametrize("module", ["demo", "burst", "load"])
def test_a_run_does_not_depend_on_the_callers_settings(module: str) -> None:
    """It makes its own deployment; variables of another one may be anything."""
    odd = {
        "ST_ROLE": "king",
        "ST_WEBHOOK_QUEUE": "many",
        "ST_DUAL_WRITE": "sometimes",
        "ST_DATABASE_URL": "x",
    }
    told = subprocess.run(
        [sys.executable, "-m", f"loadtests.{module}", "--help"],
        env=python_env({}) | odd, capture_output=True, text=True, check=False, cwd=REPO,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
