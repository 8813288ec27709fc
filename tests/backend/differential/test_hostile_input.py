"""Input that no client of good will sends: every call refuses it, none fails, both databases alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any
from zlib import crc32

from app.core.request_guard import MAX_BODY_BYTES
from app.main import create_app
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.differential.backends import Backend, Call, Twins
from tests.core.modes.chosen import ALL as EVERY_MODE

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
BIG = 10**400
# Where a document says number or text, some of these are tried.
VALUES = (
    BIG, -BIG, 2**63, -(2**63) - 1, 1e308, -0.0, "NaN", "1e999", "\x7f\u2028", "😀" * 500, "' OR 1=1 --",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", True, None, [], {},
)  # fmt: skip
BODIES = (
    b"", b"{", b"null", b"[]", b"1e999", b"Infinity", b"9" * 5000, b'"\\ud800"', b'{"a": "\\u0000"}',
    b"\xff\xfe", b"\x00", b"[" * 100_000, b'{"a":' * 70 + b"1" + b"}" * 70, b'{"a": 1e999}', b'{"a": NaN}',
    b'{"' + b"k" * 100_000 + b'": 1}', b'{"a": "' + b"x" * (MAX_BODY_BYTES - 20) + b'"}',
    b"x" * (MAX_BODY_BYTES + 1),
)  # fmt: skip
QUERIES = (
    str(BIG), str(2**63), "-1", "1e999", "nan", "%00", "%ed%a0%80", "%ff", "a" * 5000, "%", "_", "'", "",
    "9999-12-31", "0001-01-01", "9999-12-31T23:59:59%2B00:00", "-9999-01-01", "2026-02-30",
)  # fmt: skip
ALERT: dict[str, Any] = {
    "secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": "NSE:SBIN",
    "exchange": "NSE", "interval": "5", "order_id": "o", "bar_time": "2026-03-02T06:00:00Z", "hints": {},
    "trade_details": {"order_action": "BUY", "quantity": 1, "price": 2, "comment": "c", "product": "MIS"},
}  # fmt: skip


def some(values: Sequence[Any], place: str) -> Sequence[Any]:
    """Those of the values that are tried in this place; another place gets others."""
    share = 2 if EVERY_MODE else 5
    return values[crc32(place.encode()) % share :: share]


@cache
def _document() -> dict[str, Any]:
    """Made where it is used: it takes half a second, and each process collects every file."""
    return create_app().openapi()


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in _document()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return _document()["components"]["schemas"][name] if name else schema


def _with_each_member(schema: dict[str, Any], base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for member in schema.get("properties", {}):
        for value in some(VALUES, member):
            yield base | {member: value}


def _usable(schema: dict[str, Any]) -> dict[str, Any]:
    """A body that fits, so that the one wrong member is what counts."""
    choices = {"side": "BUY", "qty": 1, "status": "WAITING", "config": {}}
    return {name: choices.get(name, "secret-1") for name in schema.get("required", [])}


def _path(path: str, value: str) -> str:
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + value + rest.partition("}")[2]
    return path


def test_bodies(on_sqlite: Backend, other: Backend, compare: Callable[..., Twins]) -> None:
    twins = compare(on_sqlite, other)
    for method, path, operation in _operations():
        if "requestBody" in operation:
            for body in BODIES:
                twins(Call(method, _path(path, "3"), body, headers=JSON))
    for body in BODIES:
        twins(Call("POST", "/webhook", body, headers=TEXT))
    assert set(twins.statuses) <= {200, 201, 204, 400, 401, 404, 413, 422}
    assert twins.statuses[413] >= 15


def test_values(on_sqlite: Backend, other: Backend, compare: Callable[..., Twins]) -> None:
    twins = compare(on_sqlite, other)
    for method, path, operation in _operations():
        content = operation.get("requestBody", {}).get("content", {})
        schema = _resolved(content.get("application/json", {}).get("schema", {}))
        for body in _with_each_member(schema, _usable(schema)):
            twins(Call(method, _path(path, "3"), json.dumps(body).encode(), headers=JSON))
    assert twins.statuses[422] > 100


def test_deliveries(on_sqlite: Backend, other: Backend, compare: Callable[..., Twins]) -> None:
    twins = compare(on_sqlite, other)
    inner = ALERT["trade_details"]
    bodies = [ALERT | {member: value} for member in ALERT for value in some(VALUES, member)]
    bodies += [
        ALERT | {"trade_details": inner | {member: value}}
        for member in inner
        for value in (*VALUES, "1e999", "-0")
    ]
    bodies += [ALERT | {"order_id": "o" * 200 + str(number)} for number in range(2)]
    for body in bodies:
        text = json.dumps(body).encode()
        for headers in (JSON, TEXT):
            twins(Call("POST", "/webhook/tradingview", text, headers=headers))
    for number in (b"1e999", b"-1e999", b"NaN", b"-Infinity", b"9" * 400):
        text = json.dumps(ALERT).encode().replace(b'"price": 2', b'"price": ' + number)
        for headers in (JSON, TEXT):
            twins(Call("POST", "/webhook/tradingview", text, headers=headers))
    twins(Call("GET", "/api/tv-alerts", query={"limit": 1000}))
    twins(Call("GET", "/api/orders/"))
    assert twins.statuses[201] > 30


def test_queries_and_paths(on_sqlite: Backend, other: Backend, compare: Callable[..., Twins]) -> None:
    twins = compare(on_sqlite, other)
    for method, path, operation in _operations():
        for parameter in operation.get("parameters", []):
            for value in some(QUERIES, path):
                if parameter["in"] == "path":
                    twins(Call(method, _path(path, value)))
                elif parameter["in"] == "query":
                    required = "symbol=SBIN&" if path.endswith("/history") else ""
                    twins(Call(method, _path(path, "3"), query=f"{required}{parameter['name']}={value}"))
    assert twins.statuses[422] > 50
