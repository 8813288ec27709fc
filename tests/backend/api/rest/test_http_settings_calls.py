"""Limits, events, credentials, webhook settings, positions and price history over HTTP."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.api import positions as positions_api
from app.core.config import Settings
from app.core.crypto import decrypt_token
from app.core.time_utils import to_ist_naive, utc_now
from app.models import (
    BrokerSecret,
    Candle,
    Position,
    PositionSnapshot,
    RiskSettings,
    Strategy,
    SystemEvent,
    User,
)
from app.services.brokers.secrets import get_broker_secret, set_broker_secret
from app.services.shared.system_events import record_system_event
from tests.backend.api.api_values import SERVED

RISK = "/api/risk-settings/"
EVENTS = "/api/system-events/"
WEBHOOK = "/api/webhook-settings"
TEMPLATES = f"{WEBHOOK}/tradingview-alert-payload-templates"


SYNCED: dict[str, Any] = {
    "symbol": "Tcs", "qty": 5, "avg_price": 10.0, "buy_qty": 8, "buy_avg_price": 10.0, "sell_qty": 3,
    "sell_avg_price": 12.0, "last_price": 11.0, "close_price": 10.0,
}  # fmt: skip


def test_risk_settings(client: TestClient, db: Session) -> None:
    strategy = Strategy(name="s")
    db.add(strategy)
    db.commit()
    created = client.post(RISK, json={"scope": "GLOBAL", "max_order_value": 1e5})
    assert created.status_code == 201
    assert created.json() == {
        "scope": "GLOBAL", "strategy_id": None, "max_order_value": 1e5, "max_quantity_per_order": None,
        "max_daily_loss": None, "allow_short_selling": True, "max_open_positions": None,
        "clamp_mode": "CLAMP", "symbol_whitelist": None, "symbol_blacklist": None,
        "id": created.json()["id"],
    }  # fmt: skip
    duplicate = client.post(RISK, json={"scope": "GLOBAL"})
    assert duplicate.json() == {"detail": "Risk settings for this scope/strategy already exist."}
    own = client.post(RISK, json={"strategy_id": strategy.id}).json()
    path = f"{RISK}{own['id']}"
    assert [row["id"] for row in client.get(f"{RISK}?scope=STRATEGY").json()] == [own["id"]]
    assert [row["id"] for row in client.get(f"{RISK}?strategy_id={strategy.id}").json()] == [own["id"]]
    assert client.put(path, json={"clamp_mode": "REJECT"}).json()["clamp_mode"] == "REJECT"
    for bad in ({"scope": "GLOBAL"}, {"strategy_id": None}, {"clamp_mode": None}):
        assert client.put(path, json=bad).status_code == 422
    assert client.put(path, json={"scope": "GLOBAL", "strategy_id": None}).status_code == 400
    assert client.delete(path).status_code == 204
    assert client.get(path).json() == {"detail": "Not found"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"scope": "GLOBAL", "strategy_id": 1},
         "Value error, GLOBAL risk settings must not reference a strategy_id"),
        ({}, "Value error, STRATEGY risk settings require a strategy_id"),
    ],
)  # fmt: skip
def test_risk_settings_scope(client: TestClient, body: dict[str, Any], message: str) -> None:
    answer = client.post(RISK, json=body)
    assert answer.status_code == 422
    assert [(e["loc"], e["msg"]) for e in answer.json()["detail"]] == [(["body"], message)]


@pytest.mark.parametrize("served_by", [kind for kind in SERVED if kind != "native"], indirect=True)
def test_old_duplicates_do_not_break_the_check(client: TestClient, db: Session) -> None:
    db.add_all([RiskSettings(scope="GLOBAL"), RiskSettings(scope="GLOBAL")])
    db.commit()
    assert client.post(RISK, json={"scope": "GLOBAL"}).status_code == 400


def test_system_events(client: TestClient, db: Session) -> None:
    event = record_system_event(
        db, level="warning", category="risk", message="m", correlation_id="c", details={"ü": 1.0}
    )
    record_system_event(db, level="INFO", category="order", message="n", details={})
    old = SystemEvent(level="INFO", category="order", message="o", created_at=utc_now() - timedelta(days=8))
    db.add(old)
    db.commit()
    rows = client.get(f"{EVENTS}?level=warning&category=risk").json()
    assert rows == [
        {"id": event.id, "level": "WARNING", "category": "risk", "message": "m", "details": '{"ü": 1.0}',
         "correlation_id": "c", "created_at": rows[0]["created_at"]}
    ]  # fmt: skip
    assert [row["message"] for row in client.get(EVENTS).json()] == ["n", "m", "o"]
    clean = f"{EVENTS}cleanup"
    assert client.post(clean, json={"max_days": 0}).json() == {"deleted": 0, "remaining": 3}
    assert client.post(clean, json={"dry_run": True}).json() == {"deleted": 1, "remaining": 3}
    assert client.post(clean, json={}).json() == {"deleted": 1, "remaining": 2}
    assert client.post(clean).status_code == 422


def test_brokers_and_secrets(logged_in: TestClient, db: Session, user: User, settings: Settings) -> None:
    assert logged_in.get("/api/brokers/").json() == [{"name": "zerodha", "label": "Zerodha (Kite)"}]
    capabilities = logged_in.get("/api/brokers/capabilities").json()[0]["capabilities"]
    assert set(capabilities.values()) == {True} and len(capabilities) == 5
    base = "/api/brokers/zerodha/secrets"
    long_value = "क" * 2800
    for key, value in (("b", ""), ("a", "one"), ("a", long_value)):
        assert logged_in.put(f"{base}/{key}", json={"value": value}).json() == {"key": key, "value": value}
    assert logged_in.get(base).json() == [{"key": "a", "value": long_value}, {"key": "b", "value": ""}]
    stored = db.scalars(select(BrokerSecret.value_encrypted).where(BrokerSecret.key == "a")).one()
    assert decrypt_token(settings, stored) == long_value
    assert logged_in.delete(f"{base}/a").status_code == 204
    assert logged_in.delete(f"{base}/a").json() == {"detail": "Secret not found."}
    assert logged_in.get("/api/brokers/nope/secrets").json() == {"detail": "Unknown broker: nope"}


def test_secret_lookup(db: Session, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "zerodha_api_key", "from-settings")
    assert get_broker_secret(db, settings, "zerodha", "api_key") == "from-settings"
    monkeypatch.setenv("KITE_API_KEY", "from-environment")
    assert get_broker_secret(db, settings, "zerodha", "api_key") == "from-environment"
    set_broker_secret(db, settings, "zerodha", "ZERODHA_API_KEY", "aliased", user.id)
    assert get_broker_secret(db, settings, "zerodha", "api_key", user.id) == "aliased"
    set_broker_secret(db, settings, "zerodha", "api_key", "exact", user.id)
    assert get_broker_secret(db, settings, "zerodha", "api_key", user.id) == "exact"
    assert get_broker_secret(db, settings, "angelone", "api_secret", user.id) is None


def test_webhook_secret(client: TestClient, settings: Settings, db: Session) -> None:
    path = f"{WEBHOOK}/tradingview-secret"
    assert client.get(path).json() == {"value": "tv-secret-0001", "source": "env"}
    assert client.put(path, json={"value": " new "}).json() == {"value": "new", "source": "db"}
    assert client.put(path, json={"value": "  "}).json()["source"] == "env"
    settings.tradingview_webhook_secret = None
    assert client.get(path).json() == {"value": None, "source": "unset"}
    db.add(BrokerSecret(broker_name="webhook", key="tradingview_webhook_secret", value_encrypted="___"))
    db.commit()
    assert client.get(path).status_code == 409


def test_webhook_config(client: TestClient, settings: Settings, db: Session) -> None:
    path = f"{WEBHOOK}/tradingview-config"
    defaults = {
        "mode": "MANUAL", "broker_name": "zerodha", "execution_target": "LIVE", "default_product": "CNC",
        "fallback_to_waiting_on_error": True,
    }  # fmt: skip
    assert client.get(path).json() == defaults
    changes = {"mode": " auto ", "broker_name": "Fyers", "execution_target": "x", "default_product": "mis"}
    expected = defaults | {"mode": "AUTO", "broker_name": "fyers", "default_product": "MIS"}
    assert client.put(path, json=changes).json() == expected
    assert client.put(path, json={"mode": None}).json() == expected
    text = decrypt_token(settings, db.scalars(select(BrokerSecret.value_encrypted)).one())
    assert text == (
        '{"mode": "AUTO", "broker_name": "fyers", "execution_target": "LIVE", '
        '"default_product": "MIS", "fallback_to_waiting_on_error": true}'
    )


def test_templates(client: TestClient) -> None:
    config = {
        "version": "1.0", "signal": {"price": "{{close}}", "qty": 0.30000000000000004},
        "signal_enabled": {"price": True},
        "hints": [{"key": "टिप्पणी", "type": "enum", "value": "MIS", "enum_options": ["MIS"]}],
    }  # fmt: skip
    first = client.post(TEMPLATES, json={"name": " A ", "config": {}}).json()
    second = client.post(TEMPLATES, json={"name": "B", "config": config}).json()
    assert (first["name"], second["config"]) == ("A", config)
    again = client.post(TEMPLATES, json={"name": "A", "config": config}).json()
    assert again["id"] == first["id"]
    assert [row["name"] for row in client.get(TEMPLATES).json()] == ["A", "B"]
    assert client.get(f"{TEMPLATES}/{first['id']}").json() == again
    assert client.post(TEMPLATES, json={"name": " ", "config": {}}).json() == {
        "detail": "Template name is required."
    }
    assert client.delete(f"{TEMPLATES}/{first['id']}").json() == {"status": "deleted"}
    assert client.get(f"{TEMPLATES}/{first['id']}").json() == {"detail": "Template not found."}


def test_positions(client: TestClient, db: Session) -> None:
    places = [("a", "NSE"), ("B", "NSE"), ("B", "BSE"), ("É", "NSE")]
    db.add_all([Position(symbol=s, exchange=e, product="CNC", qty=1, avg_price=2) for s, e in places])
    db.commit()
    rows = client.get("/api/positions/?broker_name=%20Zerodha").json()
    # Byte order on both databases: capitals first, letters beyond ASCII last.
    assert [(row["symbol"], row["exchange"]) for row in rows] == [
        ("B", "BSE"), ("B", "NSE"), ("a", "NSE"), ("É", "NSE"),
    ]  # fmt: skip
    assert client.get("/api/positions/?broker_name=nope").json() == []
    assert client.post("/api/positions/sync?broker_name=angelone").json() == {
        "detail": "Positions sync not implemented for broker: angelone"
    }
    assert client.post("/api/positions/sync").json() == {"detail": "Zerodha is not connected."}


def test_position_sync_and_days(client: TestClient, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broker:
        def list_positions(self) -> list[dict[str, Any]]:
            return [SYNCED]

    monkeypatch.setattr(positions_api, "_get_zerodha_client_for_positions", lambda _db, _settings: Broker())
    db.add(Position(symbol="OLD", product="MIS", qty=1, avg_price=1))
    db.add(
        PositionSnapshot(
            broker_name="zerodha", as_of_date=date(2026, 1, 5), captured_at=utc_now(), symbol="tÉs",
            exchange="NSE", product="CNC", qty=1, avg_price=1, pnl=0,
        )
    )  # fmt: skip
    db.commit()
    for _ in range(2):
        assert client.post("/api/positions/sync").json() == {"updated": 1}
    assert [row["symbol"] for row in client.get("/api/positions/").json()] == ["Tcs"]
    latest = client.get("/api/positions/daily?symbol=tC").json()
    assert [(row["symbol"], row["order_type"], row["pnl_value"]) for row in latest] == [("Tcs", "BOTH", 6.0)]
    assert (latest[0]["today_pnl"], latest[0]["today_pnl_pct"]) == (5.0, 10.0)
    days = "/api/positions/daily?start_date=2026-01-01"
    assert [row["symbol"] for row in client.get(f"{days}&symbol=TÉ").json()] == ["tÉs"]
    assert client.get(f"{days}&symbol=té").json() == []  # only ASCII letters are folded, on both databases
    assert client.get(f"{days}&symbol=%25").json() == []


def test_history(client: TestClient, db: Session) -> None:
    day = to_ist_naive(utc_now()).replace(hour=9, minute=15, second=0, microsecond=0) - timedelta(days=3)
    bars = [(0, 10.0, 12.0, 9.0, 11.0), (1, 11.0, 15.0, 8.0, 14.0), (6, 14.0, 14.0, 13.0, 13.0)]
    for minute, o, h, low, c in bars:
        ts = day + timedelta(minutes=minute)
        db.add(
            Candle(
                symbol="A", exchange="NSE", timeframe="1m", ts=ts, open=o, high=h, low=low, close=c, volume=2
            )
        )
    db.add(
        Candle(
            symbol="A",
            exchange="NSE",
            timeframe="1d",
            ts=datetime(2026, 1, 5),
            open=1,
            high=2,
            low=1,
            close=2,
        )
    )
    db.commit()
    path = "/api/market/history?symbol=A&timeframe="
    assert len(client.get(f"{path}1m").json()) == 3
    five = client.get(f"{path}5m").json()
    assert five[0] == {
        "ts": day.isoformat(), "open": 10.0, "high": 15.0, "low": 8.0, "close": 14.0, "volume": 4.0,
    }  # fmt: skip
    assert five[1]["ts"] == (day + timedelta(minutes=5)).isoformat()
    start, end = day.isoformat(), (day + timedelta(minutes=1)).isoformat()
    assert len(client.get(f"{path}1m&start={start}&end={end}").json()) == 2
    assert client.get("/api/market/history?symbol=a").status_code == 400
    monthly = client.get(f"{path}1mo&period_days=730").json()
    assert [bar["ts"] for bar in monthly] == ["2026-01-01T00:00:00"]
