"""Imports point one way: routes use services, services use schemas; no service and no route calls a route."""

from __future__ import annotations

import ast
import graphlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import app
from app.services import PUBLIC_NAMES

APP = Path(app.__file__).parent
SERVICES = APP / "services"
FORBIDDEN = {
    "services": ("app.api",),
    "schemas": ("app.api", "app.services"),
    "models": ("app.api", "app.services", "app.schemas"),
    "core": ("app.api", "app.services", "app.schemas"),
}
ENTRIES_AT_MOST = 9


def _modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(APP).as_posix()


def _mentioned(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that is imported, at any depth, and every text that may name a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


def _crossings(tree: ast.AST, forbidden: tuple[str, ...]) -> list[str]:
    return [name for name in _mentioned(tree) if f"{name}.".startswith(tuple(f"{f}." for f in forbidden))]


def _routes(tree: ast.AST) -> set[str]:
    """Names of the functions that a router calls."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            calls = [d.func for d in node.decorator_list if isinstance(d, ast.Call)]
            if any(isinstance(c, ast.Attribute) and ast.unparse(c.value) == "router" for c in calls):
                found.add(node.name)
    return found


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_a_layer_imports_none_above_it(layer: str) -> None:
    found = {_name(path): _crossings(ast.parse(path.read_text("utf-8")), FORBIDDEN[layer])
             for path in _modules(APP / layer)}  # fmt: skip
    assert found and not {name: crossings for name, crossings in found.items() if crossings}


@pytest.mark.parametrize(
    "text",
    [
        "import app.api", "import app.api.orders as o", "from app import api", "from app.api import orders",
        "def f():\n    from app.api.orders import execute_order", "import_module('app.api.orders')",
    ],
)  # fmt: skip
def test_every_form_of_import_is_seen(text: str) -> None:
    assert _crossings(ast.parse(text), ("app.api",))


def test_no_route_uses_a_route() -> None:
    """Neither one of its own module nor one of another: what two routes share is a service."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in _modules(APP / "api")}
    routes = {path: _routes(tree) for path, tree in trees.items()}
    assert sum(len(names) for names in routes.values()) > 30
    used = [
        f"{_name(path)}: {node.id}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in routes[path]
    ]
    assert used == []
    with_routes = tuple(f"app.api.{path.stem}" for path, names in routes.items() if names)
    crossings = {
        _name(path): _crossings(tree, with_routes)
        for path, tree in trees.items()
        if path.stem != "routes"  # it puts the routers together
    }
    assert not {name: found for name, found in crossings.items() if found}


def test_the_subjects_of_the_services_form_no_circle() -> None:
    uses: dict[str, set[str]] = {}
    for path in _modules(SERVICES):
        subject = path.relative_to(SERVICES).parts[0]
        if subject != "__init__.py":
            names = _crossings(ast.parse(path.read_text("utf-8")), ("app.services",))
            uses.setdefault(subject, set()).update(name.split(".")[2] for name in names)
    order = graphlib.TopologicalSorter({name: used - {name} for name, used in uses.items()}).static_order()
    assert list(order)[-1] == "webhook"


def test_a_folder_of_services_is_taken_in_at_a_glance() -> None:
    for folder in {path.parent for path in _modules(SERVICES)}:
        entries = [path for path in folder.iterdir() if path.name not in ("__init__.py", "__pycache__")]
        assert len(entries) <= ENTRIES_AT_MOST, folder


@pytest.mark.parametrize(("flat", "place"), PUBLIC_NAMES.items())
def test_a_flat_name_is_the_module_in_its_folder(flat: str, place: str) -> None:
    module = importlib.import_module(f"app.services.{flat}")
    assert module is sys.modules[f"app.services.{place}"]
    assert getattr(importlib.import_module("app.services"), flat) is module
    assert not (SERVICES / f"{flat}.py").exists()
