"""Every name that code written against the application imports is there, with its parameters."""

from __future__ import annotations

import importlib
import inspect

import pytest

from tests import facts

MODULES = facts.names()
FUNCTIONS = [
    (module, name, parameters)
    for module, names in MODULES.items()
    for name, parameters in names.items()
    if parameters is not None
]


@pytest.mark.parametrize("module", MODULES)
def test_names_are_importable(module: str) -> None:
    imported = importlib.import_module(module)
    missing = [name for name in MODULES[module] if not hasattr(imported, name)]
    assert missing == []


@pytest.mark.parametrize(
    ("module", "name", "parameters"), FUNCTIONS, ids=[f"{m}.{n}" for m, n, _ in FUNCTIONS]
)
def test_parameters_are_the_recorded_ones(module: str, name: str, parameters: list[str]) -> None:
    function = getattr(importlib.import_module(module), name)
    ours = inspect.signature(function).parameters
    first_keyword = parameters.index("*") if "*" in parameters else len(parameters)
    for position, parameter in enumerate(parameters):
        if parameter != "*":
            assert parameter in ours
            assert position < first_keyword or ours[parameter].kind is inspect.Parameter.KEYWORD_ONLY
