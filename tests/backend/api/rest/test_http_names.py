"""Every name that code written against the application imports is there, with its parameters."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from typing import Any

import pytest

from tests.backend.api.api_values import FACTS

MODULES: dict[str, list[dict[str, Any]]] = (
    json.loads((FACTS / "names.json").read_text("utf-8"))["modules"] if FACTS.exists() else {}
)
FUNCTIONS = [
    (module, entry["name"], entry["signature"])
    for module, entries in MODULES.items()
    for entry in entries
    if "signature" in entry
]


@pytest.mark.parametrize("module", MODULES)
def test_names_are_importable(module: str) -> None:
    imported = importlib.import_module(module)
    missing = [entry["name"] for entry in MODULES[module] if not hasattr(imported, entry["name"])]
    assert missing == []


def _parameters(signature: str) -> list[tuple[str, bool]]:
    """(name, keyword only) of the parameters in a recorded signature."""
    inner = signature[1 : signature.rindex(") ->")]
    found, keyword_only = [], False
    for part in re.split(r",\s*(?![^\[(]*[\])])", inner):
        name = part.split("=")[0].strip()
        if name == "*":
            keyword_only = True
        elif name:
            found.append((name.lstrip("*"), keyword_only))
    return found


@pytest.mark.parametrize(
    ("module", "name", "signature"), FUNCTIONS, ids=[f"{m}.{n}" for m, n, _ in FUNCTIONS]
)
def test_parameters_are_the_recorded_ones(module: str, name: str, signature: str) -> None:
    function = getattr(importlib.import_module(module), name)
    ours = inspect.signature(function).parameters
    for parameter, keyword_only in _parameters(signature):
        assert parameter in ours, f"{parameter} of {signature}"
        if keyword_only:
            assert ours[parameter].kind is inspect.Parameter.KEYWORD_ONLY
