"""Every recorded webhook delivery gives the recorded answer and rows, on both databases."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Alert, Order, Position, Strategy, SystemEvent, User
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests import facts
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.api.webhook.groups import Together

RECORDED = facts.webhook()
CASES: list[dict[str, Any]] = RECORDED["cases"]

FILLER = "FILLER"
NOT_RECORDED = object()  # any value will do
# case -> (why, status, detail, what the rows become)
DIFFERENCES: dict[str, tuple[str, int, object]] = {
    "W30": ("a text body that is JSON but no object was an unhandled error", 400, NOT_RECORDED),
    "W32": ("trade_details of a wrong type was an unhandled error", 400, NOT_RECORDED),
    "W37": ("NUL characters are refused, because PostgreSQL cannot hold them", 400, NOT_RECORDED),
}
# A key of order id and bar ends in a digest of everything that identifies the signal.
DIGEST = re.compile(r"(?<=^TV:)(.*):[0-9a-f]{16}$")
# A request id of more than 64 characters is replaced by one of ours.
REPLACED_REQUEST_ID = {"W39"}
# These deliveries were unhandled before anything was stored; the refusal now leaves its usual event.
NEW_EVENTS = {"W32": ["TradingView webhook rejected: invalid payload schema"]}


@pytest.fixture
def fixture_rows(db: Session, client: TestClient) -> dict[str, int]:
    """The rows every case starts from, and the ids behind the placeholders."""
    fixture = RECORDED["fixture"]
    users = [User(password_hash="x", **row) for row in fixture["users"]]
    strategies = [Strategy(**row) for row in fixture["strategies"]]
    db.add_all([*users, *strategies, *(Position(**row) for row in fixture["positions"])])
    db.commit()
    ids = {f"<user:{user.username}>": user.id for user in users}
    return ids | {f"<strategy:{strategy.name}>": strategy.id for strategy in strategies}


def _filled(value: Any, ids: dict[str, int]) -> Any:
    """The recorded value with placeholders replaced, also inside of longer texts."""
    if isinstance(value, dict):
        return {key: _filled(member, ids) for key, member in value.items()}
    if isinstance(value, list):
        return [_filled(member, ids) for member in value]
    if not isinstance(value, str):
        return value
    if value in ids:
        return ids[value]
    for placeholder, row_id in ids.items():
        value = value.replace(placeholder, str(row_id))
    return value


def _shown(row: Any, names: list[str]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    if values.get("bar_time") is not None:
        values["bar_time"] = values["bar_time"].isoformat()
    if "details" in values and values["details"] is not None:
        values["details"] = json.loads(values["details"])
        _without_digest(values["details"])
    _without_digest(values)
    return values


def _without_digest(values: dict[str, Any]) -> None:
    key = values.get("client_order_id")
    if key is not None and key.startswith("TV:"):
        assert DIGEST.search(key), key
        values["client_order_id"] = DIGEST.sub(r"\1", key)


def _send(client: TestClient, request: dict[str, Any]) -> Any:
    headers = dict(request["headers"])
    if request["content_type"] is not None:
        headers["Content-Type"] = request["content_type"]
    return client.request(
        request["method"], request["path"], headers=headers, content=request["body"].encode()
    )


def _ids_of_new_rows(db: Session, ids: dict[str, int]) -> dict[str, int]:
    found = dict(ids)
    for label, model in (("alert", Alert), ("order", Order)):
        for number, row_id in enumerate(db.scalars(select(model.id).order_by(model.id)), start=1):
            found[f"<{label}:{number}>"] = row_id
    return found


def _masked(expected: Any) -> Any:
    """The recorded answer as it is now: what repeats the input shows no secret."""
    if isinstance(expected, dict):
        shown = {name: "***" if name == "secret" else value for name, value in expected.items()}
        return {name: _masked(value) for name, value in shown.items()}
    return [_masked(item) for item in expected] if isinstance(expected, list) else expected


def _expected_rows(case: dict[str, Any], ids: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = _filled(
        {name: case["expected_rows"][name] for name in ("alerts", "orders")}, ids
    )
    return rows


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_recorded_case(
    case: dict[str, Any], client: TestClient, db: Session, fixture_rows: dict[str, int],
    settings: Any,
) -> None:  # fmt: skip
    if "setup" in case:
        config = TradingViewWebhookConfig.from_dict(case["setup"]["webhook_config"])
        set_tradingview_webhook_config(db, settings, config)
    answers = [_send(client, request) for request in case["requests"]]
    db.expire_all()
    ids = _ids_of_new_rows(db, fixture_rows)

    difference = DIFFERENCES.get(case["id"])
    for request, answer in zip(case["requests"], answers, strict=True):
        if difference:
            assert answer.status_code == difference[1], difference[0]
            continue
        assert answer.status_code == request["expected_status"], answer.text
        assert answer.json() == _masked(_filled(request["expected_body"], ids))

    for name, model in (("alerts", Alert), ("orders", Order)):
        expected = _expected_rows(case, ids)[name]
        stored = db.scalars(select(model).order_by(model.id)).all()
        assert [_shown(row, list(want)) for row, want in zip(stored, expected, strict=True)] == expected


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_recorded_events(
    case: dict[str, Any], client: TestClient, db: Session, fixture_rows: dict[str, int],
    settings: Any,
) -> None:  # fmt: skip
    if "setup" in case:
        config = TradingViewWebhookConfig.from_dict(case["setup"]["webhook_config"])
        set_tradingview_webhook_config(db, settings, config)
    for request in case["requests"]:
        _send(client, request)
    stored = db.scalars(select(SystemEvent).order_by(SystemEvent.id)).all()
    if case["id"] in DIFFERENCES:
        assert [event.message for event in stored] == NEW_EVENTS.get(case["id"], [])
        return
    expected = _filled(case["expected_rows"]["system_events"], _ids_of_new_rows(db, fixture_rows))
    names = ["level", "category", "message", "details", "correlation_id"]
    if case["id"] in REPLACED_REQUEST_ID:
        names.remove("correlation_id")
        expected = [{name: event[name] for name in names} for event in expected]
        assert all(len(event.correlation_id or "") == 36 for event in stored)
    assert [_shown(event, names) for event in stored] == expected


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_recorded_case_in_a_group(
    case: dict[str, Any], client: TestClient, db: Session, fixture_rows: dict[str, int],
    settings: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Among other deliveries, in one transaction with them, it has the same answers, rows and events."""
    if "setup" in case:
        config = TradingViewWebhookConfig.from_dict(case["setup"]["webhook_config"])
        set_tradingview_webhook_config(db, settings, config)
    mixed: list[Any] = [*case["requests"], *map(_filler, range(8))]
    Random(case["id"]).shuffle(mixed)
    ours = iter(case["requests"])  # in their own order: which of two copies is the first is part of the case
    mixed = [next(ours) if "path" in request else request for request in mixed]
    together = Together(monkeypatch)
    answers = together([_as_delivery(request) if "path" in request else request for request in mixed])
    assert max(together.sizes, default=0) >= 8
    assert together.unpacked >= 8
    theirs = [a.status_code for r, a in zip(mixed, answers, strict=True) if "path" not in r]
    assert sorted(theirs) == [201] * 4 + [401] * 4
    ours_answered = [a for r, a in zip(mixed, answers, strict=True) if "path" in r]

    stored = db.scalars(select(Alert).order_by(Alert.id)).all()
    alerts = [alert for alert in stored if FILLER not in alert.raw_payload]
    # PostgreSQL numbers the orders of a group by their keys.
    orders = [
        order
        for alert in alerts
        for order in db.scalars(select(Order).where(Order.alert_id == alert.id).order_by(Order.id))
    ]
    ids = dict(fixture_rows)
    for label, rows in (("alert", alerts), ("order", orders)):
        ids |= {f"<{label}:{number}>": row.id for number, row in enumerate(rows, start=1)}
    if (difference := DIFFERENCES.get(case["id"])) is not None:
        assert [answer.status_code for answer in ours_answered] == [difference[1]] * len(ours_answered)
        return
    for request, answer in zip(case["requests"], ours_answered, strict=True):
        assert answer.status_code == request["expected_status"], answer.text
        assert answer.json() == _masked(_filled(request["expected_body"], ids))
    expected = _expected_rows(case, ids)
    for name, rows in (("alerts", alerts), ("orders", orders)):
        wanted = expected[name]
        assert [_shown(row, list(want)) for row, want in zip(rows, wanted, strict=True)] == wanted
    names = ["level", "category", "message", "details"]
    events = db.scalars(select(SystemEvent).order_by(SystemEvent.id)).all()
    told = [_shown(event, names) for event in events if not (event.correlation_id or "").startswith(FILLER)]
    wanted = _filled(case["expected_rows"]["system_events"], ids)
    assert told == [{name: event[name] for name in names} for event in wanted]


def _as_delivery(request: dict[str, Any]) -> dict[str, Any]:
    headers = dict(request["headers"])
    if request["content_type"] is not None:
        headers["Content-Type"] = request["content_type"]
    return {
        "method": request["method"], "url": request["path"], "headers": headers,
        "content": request["body"].encode(),
    }  # fmt: skip


def _filler(number: int) -> dict[str, Any]:
    """A delivery of somebody else; every other one is refused."""
    user = RECORDED["fixture"]["users"][0]["username"]
    body = {
        "secret": "wrong" if number % 2 else WEBHOOK_SECRET, "st_user_id": user, "strategy_name": FILLER,
        "symbol": f"NSE:{FILLER}{number}", "order_action": "BUY", "quantity": 1,
    }  # fmt: skip
    return {"json": body, "headers": {"X-Request-ID": f"{FILLER}-{number}"}}


def test_all_recorded_cases_are_here() -> None:
    assert len(CASES) >= 40
    assert set(DIFFERENCES) | REPLACED_REQUEST_ID <= {case["id"] for case in CASES}
