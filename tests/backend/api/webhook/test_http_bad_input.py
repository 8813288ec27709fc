"""Bad input is a 4xx and never a 500, with the same answer on both databases."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.request_guard import MAX_BODY_BYTES
from app.models import Alert, Order, User
from app.services.webhook.body import InvalidBody, parse_text_body
from tests.backend.api.api_values import WEBHOOK_SECRET

URL = "/webhook/tradingview"
BIG = 2**63
BASE: dict[str, Any] = {
    "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": "NSE:ITC",
    "trade_details": {"order_action": "BUY", "quantity": 1},
}  # fmt: skip


DEEP_HINTS = json.dumps(BASE)[:-1] + ',"hints":' + '{"a":' * 70 + "1" + "}" * 71


def _with(**details: Any) -> str:
    return json.dumps(BASE | {"trade_details": BASE["trade_details"] | details})


WEBHOOK_BODIES: list[tuple[str, str, str | bytes, int]] = [
    ("text array", "text/plain", "[1]", 400),
    ("text number", "text/plain", "17", 400),
    ("text string", "text/plain", '"abc"', 400),
    ("text true", "text/plain", "true", 400),
    ("text not UTF-8", "text/plain", b"\xff\xfe{}", 422),
    ("JSON not UTF-8", "application/json", b'{"secret":"\xff"}', 400),
    ("details text", "application/json", json.dumps(BASE | {"trade_details": "BUY"}), 400),
    ("details list", "application/json", json.dumps(BASE | {"trade_details": [1]}), 400),
    ("details null", "text/plain", json.dumps(BASE | {"trade_details": None}), 400),
    ("surrogate", "application/json", _with(comment="a\ud800b"), 400),
    ("surrogate as text", "text/plain", _with(comment="a\udfffb"), 400),
    ("surrogate, wrong order", "application/json", _with(comment="\ude00\ud83d"), 400),
    ("surrogate in a name", "application/json", json.dumps(BASE | {"\ud800": 1}), 400),
    ("NUL", "application/json", _with(comment="a\x00b"), 400),
    ("NUL as text", "text/plain", _with(comment="a\x00b"), 400),
    ("NUL in a pair", "text/plain", "secret=x&symbol=A%00B", 400),
    ("NUL in JSON in JSON", "application/json", json.dumps(_with(comment="a\x00b")), 400),
    ("raw NUL", "text/plain", "a\x00b", 400),
    ("infinite price", "application/json", _with(price=float("inf")), 400),
    ("infinite quantity", "application/json", _with(quantity=float("-inf")), 400),
    ("infinite price text", "application/json", _with(price="1e999"), 400),
    ("true as quantity", "application/json", _with(quantity=True), 400),
    ("false as price", "text/plain", _with(price=False), 400),
    ("integer of 400 digits", "application/json", _with(quantity=10**400), 400),
    ("integer of 5000 digits", "application/json", _with().replace("1}", "1" * 5000 + "}"), 400),
    ("integer of 5000 digits as text", "text/plain", _with().replace("1}", "1" * 5000 + "}"), 400),
    ("deep", "application/json", "[" * 100_000 + "]" * 100_000, 400),
    ("deep hints", "application/json", DEEP_HINTS, 400),
    ("deep as text", "text/plain", "[" * 100_000, 400),
    ("platform object", "application/json", json.dumps(BASE | {"platform": {"a": 1}}), 400),
    ("platform empty list", "application/json", json.dumps(BASE | {"platform": []}), 400),
    ("time out of range", "application/json", json.dumps(BASE | {"bar_time": 1e300}), 400),
    ("time is text", "application/json", json.dumps(BASE | {"bar_time": "soon"}), 400),
    ("meta is a number", "application/json", json.dumps(BASE | {"meta": 1, "signal": 2, "symbol": 5}), 400),
    ("secret is a number", "application/json", json.dumps(BASE | {"secret": 5}), 401),
    ("too large", "application/json", json.dumps(BASE | {"hints": {"a": "x" * MAX_BODY_BYTES}}), 413),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [case[1:] for case in WEBHOOK_BODIES],
    ids=[case[0] for case in WEBHOOK_BODIES],
)
def test_webhook(
    client: TestClient, db: Session, user: User, content_type: str, body: str | bytes, status: int
) -> None:
    content = body if isinstance(body, bytes) else body.encode()
    answer = client.post(URL, content=content, headers={"Content-Type": content_type})
    assert answer.status_code == status, answer.text
    assert "detail" in answer.json()
    assert db.scalar(select(func.count()).select_from(Alert)) == 0


@pytest.mark.parametrize(
    "details",
    [
        {"quantity": 1e308, "price": 1e308}, {"price": 1e16}, {"price": -0.0},
        {"comment": "emoji \U0001f600 and \\u0000 spelled out"}, {"quantity": -5}, {"price": float("nan")},
    ],
)  # fmt: skip
def test_unusual_but_accepted(client: TestClient, user: User, details: dict[str, Any]) -> None:
    answer = client.post(URL, content=_with(**details), headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    assert client.get("/api/tv-alerts").status_code == 200
    assert client.get("/api/orders/").status_code == 200


HISTORY = "/api/market/history?symbol=A"
ORDER = {"symbol": "SBIN", "side": "BUY", "qty": 1}
REQUESTS: list[tuple[str, str, Any, int]] = [
    ("GET", f"/api/orders/{BIG}", None, 422),
    ("GET", f"/api/orders/{-BIG - 1}", None, 422),
    ("GET", f"/api/orders/{BIG - 1}", None, 404),
    ("GET", f"/api/orders/?strategy_id={BIG}", None, 422),
    ("GET", "/api/orders/?status=a%00b", None, 400),
    ("GET", "/api/orders/?broker_name=nope", None, 400),
    ("GET", "/api/orders/a%00b", None, 400),
    ("GET", "/api/tv-alerts?limit=0", None, 422),
    ("GET", "/api/tv-alerts?limit=1001", None, 422),
    ("GET", "/api/system-events/?limit=99999999999999999999", None, 422),
    ("GET", "/api/system-events/?category=%00", None, 400),
    ("GET", "/api/positions/?broker_name=%00", None, 400),
    ("GET", f"{HISTORY}&start=0001-01-01T00:00:00%2B05:30&end=2026-01-01T00:00:00Z", None, 400),
    ("GET", f"{HISTORY}&start=2026-01-02&end=2026-01-01", None, 400),
    ("GET", f"{HISTORY}&period_days=0", None, 422),
    ("POST", "/api/auth/register", {"username": "a\x00bc", "password": "secret"}, 400),
    ("POST", "/api/auth/register", {"username": "abc\ud800", "password": "secret"}, 400),
    ("POST", "/api/auth/login", {"username": "nobody", "password": "x"}, 401),
    ("POST", "/api/orders/", ORDER | {"qty": float("nan")}, 422),
    ("POST", "/api/orders/", ORDER | {"price": float("inf")}, 422),
    ("POST", "/api/orders/", ORDER | {"portfolio_group_id": BIG}, 422),
    ("POST", "/api/orders/", ORDER | {"portfolio_group_id": 4711}, 400),
    ("POST", "/api/orders/", ORDER | {"symbol": "a\x00"}, 400),
    ("POST", "/api/orders/", ORDER | {"qty": 10**400}, 422),
    ("POST", "/api/orders/", ORDER | {"qty": True}, 422),
    ("POST", "/api/orders/", [1], 422),
    ("POST", "/api/orders/", None, 422),
    ("POST", "/api/strategies/", {"name": "x", "dsl_expression": "RSI(14)"}, 400),
    ("POST", "/api/strategies/", {"name": "x", "dsl_expression": "(" * 5000}, 400),
    ("POST", "/api/strategies/", {"name": "x", "dsl_expression": "NOT " * 5000 + "QTY > 1"}, 400),
    ("POST", "/api/strategies/", {"name": "x", "dsl_expression": "QTY > " + "9" * 400}, 400),
    ("POST", "/api/strategies/", {"name": "x", "dsl_expression": "(QTY > 1) > 2"}, 400),
    ("POST", "/api/strategies/", {"name": "x", "paper_poll_interval_sec": BIG}, 422),
    ("POST", "/api/risk-settings/", {"scope": "GLOBAL", "max_open_positions": BIG}, 422),
    ("POST", "/api/risk-settings/", {"scope": "GLOBAL", "max_order_value": float("nan")}, 422),
    ("POST", "/api/risk-settings/", {"scope": "STRATEGY", "strategy_id": 4711}, 400),
    ("POST", "/api/system-events/cleanup", {"max_days": 10**30}, 422),
    ("POST", "/api/system-events/cleanup", {"max_days": BIG - 1}, 200),
    ("PUT", "/api/webhook-settings/tradingview-secret", {"value": "a\x00"}, 400),
    ("PUT", "/api/brokers/zerodha/secrets/a%00b", {"value": "x"}, 400),
    ("PUT", "/api/brokers/nope/secrets/a", {"value": "x"}, 404),
    ("DELETE", f"/api/webhook-settings/tradingview-alert-payload-templates/{BIG}", None, 422),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status"), REQUESTS)
def test_everything_else(
    logged_in: TestClient, db: Session, method: str, path: str, body: Any, status: int
) -> None:
    content = None if body is None else json.dumps(body)
    answer = logged_in.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert db.scalar(select(func.count()).select_from(Order)) == 0


def test_a_body_without_declared_length_is_limited_too(client: TestClient) -> None:
    chunks = (b"x" * 65536 for _ in range(MAX_BODY_BYTES // 65536 + 1))
    answer = client.post(URL, content=chunks)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,000", 1000.0), ("1,00,000", 100000.0), ("12,34,567.50", 1234567.5), ("1,000,000", 1000000.0),
        ("-1,000", -1000.0), ("1,5", None), ("2673,10", None), ("1,0000", None), (",5", None), ("1,,000", None),
        ("1000,000", None), ("1.5", 1.5), (" ", 0.0), ("0,500", None), ("-0,500", None), ("00,123", None),
        ("1,23,456,789", None), ("12,345,67,890", None), ("100,00,000", None), ("1,000.5,5", None), ("١,٠٠٠", None),
    ],
)  # fmt: skip
def test_commas_count_only_where_they_group_digits(
    client: TestClient, db: Session, user: User, text: str, value: float | None
) -> None:
    answer = client.post(URL, content=_with(quantity=text), headers={"Content-Type": "application/json"})
    assert answer.status_code == (400 if value is None else 201)
    assert db.scalars(select(Alert.qty)).all() == ([] if value is None else [value])


TEXT = json.dumps(
    BASE | {"order_id": "12,345", "hints": {"levels": [100, 200], "note": "1,234, , 5"}},
    separators=(",", ":"),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", 1234.0), ("1,234,567.5", 1234567.5), ("-1,000", -1000.0), ("1,234,", 1234.0), ("1234,", 1234.0),
        ("2673,100", None), ("0,500", None), ("1.5,000", None), ("0.123,456", None), ("1,,000", None), ("1,5", None),
    ],
)  # fmt: skip
def test_a_text_body_is_repaired_where_commas_group_digits_and_nowhere_else(
    text: str, value: float | None
) -> None:
    sent = TEXT.replace('"quantity":1', f'"quantity":{text}')
    if value is None:
        with pytest.raises(InvalidBody):
            parse_text_body(sent)
        return
    expected = json.loads(TEXT)
    expected["trade_details"]["quantity"] = value
    assert parse_text_body(sent) == expected


@pytest.mark.parametrize("piece", ['"', '"\\"', '"",', ":1,234,234", ": 1,234,23", ",", ", ,", "\\"])
def test_a_text_that_needs_a_repair_takes_no_long_time(piece: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidBody):
        parse_text_body("{" + piece * (MAX_BODY_BYTES // len(piece) - 1))
    assert time.process_time() - started < 5  # a second at most; in steps that repeat themselves hours


@pytest.mark.parametrize(("length", "status"), [(512, 201), (513, 422), (3000, 422)])
def test_a_symbol_that_an_index_cannot_hold_is_refused(
    client: TestClient, db: Session, user: User, length: int, status: int
) -> None:
    """Of characters that take much room and cannot be compressed."""
    symbol = "".join(chr(0x10000 + (number * 7919) % 0xFFFF) for number in range(length))
    answer = client.post(URL, json=BASE | {"symbol": symbol})
    assert answer.status_code == status, answer.text
    assert db.scalar(select(func.count()).select_from(Order)) == (status == 201)
