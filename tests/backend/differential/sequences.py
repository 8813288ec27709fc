"""Recorded sequences of requests; each yields its next request and is sent the answer to the last one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from datetime import timedelta
from typing import Any

from tests import facts
from tests.backend.api.api_values import WEBHOOK_SECRET
from tests.backend.differential.backends import NOON, Call
from tests.backend.differential.seeds import NAMES, PASSWORD

Sequence = Generator[Call, Any, None]
HOOK = "/webhook/tradingview"


def play(sequences: Iterable[Callable[[], Sequence]], send: Callable[[Call], Any]) -> None:
    """Send what the sequences yield."""
    for sequence in sequences:
        running = sequence()
        call = next(running)
        while True:
            try:
                call = running.send(send(call))
            except StopIteration:
                break


def accounts() -> Sequence:
    for name in ("New", "new", "Ä" * 64, "New"):
        yield Call("POST", "/api/auth/register", {"username": name, "password": PASSWORD})
    for name in ("new", "NEW", "trader1"):
        yield Call("POST", "/api/auth/login", {"username": name, "password": PASSWORD})
    yield Call("GET", "/api/auth/me")
    yield Call("POST", "/api/auth/theme", {"theme_id": "dark"})
    for current in ("wrong", PASSWORD, "secret-2"):
        change = {"current_password": current, "new_password": "secret-2"}
        yield Call("POST", "/api/auth/change-password", change)
    yield Call("POST", "/api/auth/login", {"username": "trader1", "password": "secret-2"})


def strategies() -> Sequence:
    yield Call("GET", "/api/strategies/")
    for name in ("Neu", "neu", "Neu", "", "x" * 256, "Zulu 0"):
        yield Call("POST", "/api/strategies/", {"name": name, "dsl_expression": "RSI(14) > 70"})
    answer = yield Call("POST", "/api/strategies/", {"name": "mine", "execution_mode": "AUTO"})
    path = f"/api/strategies/{answer.json()['id']}"
    for change in (
        {"name": "Neu"},
        {"name": "Mine"},
        {"enabled": False, "description": None},
        {"name": None},
    ):
        yield Call("PUT", path, change)
    for method in ("GET", "DELETE", "GET"):
        yield Call(method, path)
    again = yield Call("POST", "/api/strategies/", {"name": "after a deletion"})
    yield Call("DELETE", f"/api/strategies/{again.json()['id'] - 1}")
    for scope in ("GLOBAL", "LOCAL", "global"):
        yield Call("GET", "/api/strategies/templates", query={"scope": scope})
    yield Call("GET", "/api/strategies/templates")


def limits() -> Sequence:
    yield Call("GET", "/api/risk-settings/")
    yield Call("POST", "/api/risk-settings/", {"scope": "GLOBAL"})
    listed = yield Call("GET", "/api/strategies/")
    free = listed.json()[-1]["id"]
    body = {"scope": "STRATEGY", "strategy_id": free, "max_order_value": 0.1 + 0.2, "clamp_mode": "REJECT"}
    answer = yield Call("POST", "/api/risk-settings/", body)
    yield Call("POST", "/api/risk-settings/", body)
    yield Call("POST", "/api/risk-settings/", body | {"strategy_id": 2**40})
    path = f"/api/risk-settings/{answer.json()['id']}"
    for change in ({"scope": "GLOBAL", "strategy_id": None}, {"symbol_blacklist": "ß"}, {"scope": "GLOBAL"}):
        yield Call("PUT", path, change)
    for query in ({"scope": "GLOBAL"}, {"strategy_id": free}, {"strategy_id": 2**63}, {"scope": "x"}):
        yield Call("GET", "/api/risk-settings/", query=query)
    for method in ("DELETE", "DELETE", "GET"):
        yield Call(method, path)


def orders() -> Sequence:
    listed = yield Call("GET", "/api/orders/")
    for query in ({"status": "WAITING"}, {"status": "waiting"}, {"status": "%"}, {"broker_name": " ZERODHA "},
                  {"broker_name": "nope"}, {"strategy_id": 1}):  # fmt: skip
        yield Call("GET", "/api/orders/", query=query)
        yield Call("GET", "/api/orders/queue", query=query)
    for order in listed.json()[:12]:
        path = f"/api/orders/{order['id']}"
        yield Call("PATCH", path, {"qty": 1.5, "price": 320.275, "product": "mis"})
        yield Call("PATCH", f"{path}/status", {"status": "CANCELLED"})
        yield Call("POST", f"{path}/move-to-waiting")
        yield Call("POST", f"{path}/execute")
        yield Call("GET", path)
    for more in ({}, {"mode": "AUTO"}, {"mode": "AUTO", "execution_target": "PAPER"}, {"qty": 0},
                 {"gtt": True, "order_type": "LIMIT", "price": 10.01}, {"portfolio_group_id": 1},
                 {"risk_spec": {"stop_loss": {"enabled": True, "value": 1}}}, {"price": -1},
                 {"order_type": "SL"}, {"symbol": "Ü" * 300, "exchange": ""}):  # fmt: skip
        body = {"symbol": "TCS", "side": "BUY", "qty": 2} | more
        answer = yield Call("POST", "/api/orders/", body)
        if answer.status_code == 200:
            yield Call("POST", f"/api/orders/{answer.json()['id']}/execute")
            yield Call("POST", f"/api/orders/{answer.json()['id']}/move-to-waiting")
    yield Call("POST", "/api/orders/sync")
    yield Call("POST", "/api/paper/poll")
    yield Call("GET", "/api/orders/queue")
    yield Call("GET", "/api/orders/")


def deliveries() -> Sequence:
    for case in facts.webhook()["cases"]:
        for request in case["requests"]:
            kind = {} if request["content_type"] is None else {"Content-Type": request["content_type"]}
            yield Call(request["method"], request["path"], request["body"].encode(), headers=kind)
    body = {"secret": WEBHOOK_SECRET, "st_user_id": "trader1", "strategy_name": "Zulu 0", "symbol": "NSE:Ä",
            "trade_details": {"order_action": "BUY", "quantity": 1}}  # fmt: skip
    for name in ("Zulu 0", "alpha 1", "Ähre 2", "Alpha 4", "nobody"):  # each mode and target
        for more in ({}, {"order_id": "o"}, {"order_id": "o", "bar_time": "2026-03-02T06:00:00Z"}):
            for _copy in range(2):
                yield Call("POST", HOOK, body | {"strategy_name": name} | more)
    for config in ({"mode": "AUTO"}, {"fallback_to_waiting_on_error": False}, {"execution_target": "PAPER"}):
        yield Call("PUT", "/api/webhook-settings/tradingview-config", config)
        yield Call("POST", HOOK, body | {"interval": str(config)})
    for limit in (1, 3, 1000, 0):
        yield Call("GET", "/api/tv-alerts", query={"limit": limit})
    yield Call("GET", "/api/orders/")
    yield Call("GET", "/api/system-events/", query={"limit": 500})


def templates() -> Sequence:
    base = "/api/webhook-settings/tradingview-alert-payload-templates"
    yield Call("GET", base)
    for name in ("neu", "Neu", "neu", " neu ", ""):
        answer = yield Call("POST", base, {"name": name, "config": {"signal": {"é": 1e300}}})
    first = yield Call("POST", base, {"name": "Ω", "config": {"hints": [{"key": "k", "value": [None, 1]}]}})
    assert answer.status_code < 500
    for method in ("GET", "DELETE", "GET"):
        yield Call(method, f"{base}/{first.json()['id']}")
    yield Call("GET", base)


def settings_calls() -> Sequence:
    for value in ("stored-secret-1", " ", "ß"):
        yield Call("PUT", "/api/webhook-settings/tradingview-secret", {"value": value})
        yield Call("GET", "/api/webhook-settings/tradingview-secret")
        yield Call("POST", HOOK, {"secret": value, "test": "tradingview"})
    yield Call("PUT", "/api/webhook-settings/tradingview-secret", {"value": ""})
    yield Call("GET", "/api/brokers/")
    yield Call("GET", "/api/brokers/capabilities")
    for key in ("b", "B", "a", "ä", "B"):
        yield Call("PUT", f"/api/brokers/zerodha/secrets/{key}", {"value": f"value of {key}"})
    yield Call("GET", "/api/brokers/zerodha/secrets")
    for key in ("B", "B"):
        yield Call("DELETE", f"/api/brokers/zerodha/secrets/{key}")
    yield Call("GET", "/api/brokers/zerodha/secrets")


def positions() -> Sequence:
    for query in ({}, {"broker_name": " ZERODHA"}, {"broker_name": "none"}):
        yield Call("GET", "/api/positions/", query=query)
    day = (NOON - timedelta(days=4)).date().isoformat()
    for query in ({}, {"start_date": day}, {"end_date": day, "start_date": "2000-01-01"},
                  {"include_zero": True, "start_date": day}, {"start_date": "0001-01-01"}):  # fmt: skip
        yield Call("GET", "/api/positions/daily", query=query)
    for name in (*NAMES, "%", "_", "A", "\\", "'"):
        query = {"symbol": name, "start_date": "2000-01-01", "include_zero": True}
        yield Call("GET", "/api/positions/daily", query=query)
    yield Call("POST", "/api/positions/sync")


def events() -> Sequence:
    for query in (
        {},
        {"limit": 7},
        {"level": "warning"},
        {"category": "alert"},
        {"category": "ALERT"},
        {"limit": 501},
    ):
        yield Call("GET", "/api/system-events/", query=query)
    for body in ({"max_days": 2, "dry_run": True}, {"max_days": 2}, {"max_days": 0}, {"max_days": 2**62}):
        yield Call("POST", "/api/system-events/cleanup", body)
    yield Call("GET", "/api/system-events/", query={"limit": 500})


def candles() -> Sequence:
    frames = ("1m", "5m", "1h", "1d", "1mo", "2m")
    spans: tuple[dict[str, Any], ...] = (
        {}, {"period_days": 3}, {"start": "2026-02-27T06:30:00", "end": "2026-02-27T07:10:00.5"},
        {"start": "2026-02-20T06:30:00Z", "end": "2026-02-28T06:30:00+05:30"}, {"start": "9999-12-31", "end": "x"},
    )  # fmt: skip
    for frame in frames:
        for span in spans:
            yield Call("GET", "/api/market/history", query={"symbol": "SBIN", "timeframe": frame, **span})
    yield Call("GET", "/api/market/history", query={"symbol": "sbin"})


ALL = (
    events, strategies, limits, positions, candles, templates, orders, deliveries, settings_calls, accounts,
)  # fmt: skip
