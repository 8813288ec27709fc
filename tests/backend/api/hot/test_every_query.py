"""The list of hot paths is whole: every place in the application that sends a statement is played, or named here.

A function that is new, and asks a database, fails this test until a path plays it or its tables are said to be small.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

import app
from tests.backend.api.hot.hot_paths import Sessions, TestClient
from tests.backend.api.hot.test_hot_queries import NATIVE_PAGES, PATHS

APP = Path(app.__file__).parent
NO_APPLICATION = ("db", "native", "models", "schemas")
SENDS = ("execute", "scalar", "scalars", "get", "get_one")
Site = tuple[str, str]

ELSEWHERE: dict[str, list[str]] = {
    "it asks for what people make by hand: some rows": [
        "api/auth.py:register",
        "api/risk_settings.py:_check_place",
        "api/risk_settings.py:_find",
        "api/risk_settings.py:list_risk_settings",
        "api/strategies.py:list_strategies",
        "services/brokers/secrets.py:list_broker_secrets",
        "services/orders/entry.py:_check_group",
        "services/positions/sell_qty.py:_cached_qty",
        "services/risk/limits.py:_position_qty",
        "services/shared/users.py:_replace_known_password",
        "services/shared/users.py:ensure_default_admin",
        "services/strategies/rows.py:list_templates",
        "services/webhook/settings/templates.py:_by_name",
        "services/webhook/settings/templates.py:find_payload_template",
        "services/webhook/settings/templates.py:list_payload_templates",
    ],
    "it asks the server about itself": [
        "core/replica.py:_asked",
        "roles/capacity.py:refusal",
        "roles/leader.py:_begin",
        "roles/leader.py:take",
    ],
    "it is SQLite's, with one row for each deployment": [
        "services/deployments/locks.py:_ensure_row",
        "services/deployments/locks.py:acquire_deployment_lock",
        "services/deployments/locks.py:release_deployment_lock",
        "services/deployments/locks.py:sweep_stale_locks",
    ],
    "it is SQLite's, and each path is played there, too": ["services/shared/jobs/claim.py:_is_anything_due"],
    "it asks for rows by their ids or by a unique key": [
        "retention/batch.py:_all_there",
        "retention/old/parts.py:_can_be_read",
        "services/deployments/worker.py:_fail",
        "services/webhook/dispatch.py:put_aside",
        "services/webhook/dispatch.py:take_back",
        "services/webhook/door/outside/alone.py:placed",
        "services/webhook/door/outside/queued.py:_put_aside",
        "services/webhook/lookup.py:find_earlier",
        "services/webhook/store.py:_take_key_over",
    ],
    "a person asks it to count or delete what is in a whole table": [
        "api/system_events.py:clean_up",
        "retention/report.py:_count",
        "retention/report.py:_count_of",
    ],
    "it writes the positions of one day, which it deletes first": [
        "services/positions/sync.py:sync_positions_from_zerodha"
    ],
}


def sites() -> Iterator[Site]:
    """Module and function of every call that sends a statement."""
    for path in APP.rglob("*.py"):
        module = path.relative_to(APP)
        if module.parts[0] in NO_APPLICATION:
            continue
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and any(
                map(_sends, ast.walk(function))
            ):
                yield module.as_posix(), function.name


def _sends(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Name):
        return node.func.id == "changed_rows"
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in SENDS:
        return False
    return ast.unparse(node.func.value).endswith(("db", "connection", "connection()", "session"))


@pytest.fixture
def asking(engine: Engine) -> Iterator[set[Site]]:
    """The functions of the application that have sent a statement."""
    seen: set[Site] = set()

    def note(*_: Any) -> None:
        frame = sys._getframe()
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(APP):
                seen.add((path.relative_to(APP).as_posix(), frame.f_code.co_name))
            frame = frame.f_back  # type: ignore[assignment]  # the outermost has none

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_every_place_that_asks_the_database_is_played(
    client: TestClient, sessions: Sessions, asking: set[Site]
) -> None:
    for path in PATHS:
        path(client, sessions)
    for page in NATIVE_PAGES:
        client.get(page).raise_for_status()
    missing = {f"{module}:{function}" for module, function in set(sites()) - asking}
    assert missing == {site for named in ELSEWHERE.values() for site in named}
