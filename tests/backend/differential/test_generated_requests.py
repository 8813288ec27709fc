"""Requests made from the OpenAPI document, fitting and not fitting it, get one answer from both databases.

`ST_DIFFERENTIAL_EXAMPLES` sets how many are made per operation and kind (4 unless told); the seed is
fixed, so a run can be repeated.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable

from app.main import create_app
from tests.backend.differential.backends import Backend, Call, Twins

EXAMPLES = int(os.environ.get("ST_DIFFERENTIAL_EXAMPLES", "4"))
SEED = 64
QUIET = settings(
    max_examples=EXAMPLES, phases=[Phase.generate], database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
PREFIXES = ("/webhook", "/api/auth", "/api/orders", "/api/strategies", "/api/risk-settings",
            "/api/webhook-settings", "/api/brokers", "/api/")  # fmt: skip


@cache
def _schemathesis() -> ModuleType:
    """Imported where it is used: its import takes a second, and each process collects every file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
    return schemathesis


@cache
def _operations() -> dict[str, list[Any]]:
    """The operations of the document by prefix; each in the first group that it fits."""
    found: dict[str, list[Any]] = {prefix: [] for prefix in PREFIXES}
    schema = _schemathesis().openapi.from_dict(create_app().openapi())
    for result in schema.get_all_operations():
        operation = result.ok()
        prefix = next((prefix for prefix in PREFIXES if operation.path.startswith(prefix)), None)
        if prefix is not None:
            found[prefix].append(operation)
    return found


def _as_call(case: Any, number: int) -> Call:
    """The request of a generated case; every other number in a path becomes one that may exist."""
    if number % 2 and case.path_parameters:
        for name, value in case.path_parameters.items():
            if name.endswith("_id") and isinstance(value, int):
                case.path_parameters[name] = 1 + abs(value) % 30
    sent = case.as_transport_kwargs(base_url="http://testserver")
    headers = {str(name): str(value) for name, value in (sent.get("headers") or {}).items()}
    body = sent.get("data") if sent.get("json") is None else sent["json"]
    if case.body is _schemathesis().core.NOT_SET:
        body = None
    elif isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    query = sent["url"].partition("?")[2] or sent.get("params")
    return Call(
        sent["method"], sent["url"].removeprefix("http://testserver").partition("?")[0], body, query, headers
    )


@pytest.mark.parametrize("prefix", PREFIXES)
def test_generated(prefix: str, on_sqlite: Backend, other: Backend, compare: Callable[..., Twins]) -> None:
    twins = compare(on_sqlite, other)
    operations = _operations()[prefix]
    assert operations
    modes = _schemathesis().GenerationMode
    for operation in operations:
        for mode in (modes.POSITIVE, modes.NEGATIVE):
            strategy = operation.as_strategy(generation_mode=mode)

            @seed(SEED)
            @QUIET
            @given(case=strategy)
            def send(case: Any) -> None:
                twins(_as_call(case, twins.sent))

            # A call without parameters and body cannot be made wrong.
            with contextlib.suppress(Unsatisfiable):
                send()
    assert twins.sent >= len(operations) * min(EXAMPLES, 2)
