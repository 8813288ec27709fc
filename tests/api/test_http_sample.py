"""The application on a database that the real one wrote, with everything that had crept into it."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_values import FACTS
from fastapi.testclient import TestClient
from sqlalchemy import make_url
from sqlalchemy.orm import Session, sessionmaker

from app.core.config import Settings
from app.db import get_db
from app.db.engines import make_engine
from app.db.settings import ShimSettings
from app.main import app
from app.models import User
from app.schemas.webhook import TradingViewWebhookPayload
from app.services.tradingview_zerodha_adapter import (
    client_order_id,
    normalize_tradingview_payload_for_zerodha,
)

SAMPLE = FACTS / "sample" / "sigma_trader.db.gz"
KEY = "sample-crypto-key-for-tests-0123456789"
ACCOUNTS = [
    ("admin", "SigmaAdmin#2026"),
    ("मीनाक्षी_डेस्क", "sample-pass-2026"),
    ("Trader_One", "sample-pass-2026"),
]


@pytest.fixture
def sample(
    facts: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """The application on a copy of the sample database."""
    path = tmp_path / "sample.db"
    path.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
    monkeypatch.setattr(settings, "crypto_key", KEY)
    engine = make_engine(make_url(f"sqlite:///{path}"), ShimSettings())
    factory = sessionmaker(bind=engine, autoflush=False, expire_on_commit=False)

    def get_sample() -> Iterator[Session]:
        with factory() as session:
            yield session

    app.dependency_overrides[get_db] = get_sample
    yield TestClient(app, raise_server_exceptions=False)
    app.dependency_overrides.clear()
    engine.dispose()


@pytest.mark.parametrize(
    "path",
    [
        "/api/orders/", "/api/orders/queue", "/api/tv-alerts?limit=1000", "/api/strategies/",
        "/api/risk-settings/", "/api/positions/", "/api/positions/daily?start_date=2000-01-01",
        "/api/system-events/?limit=500", "/api/webhook-settings/tradingview-secret",
        "/api/webhook-settings/tradingview-config",
        "/api/webhook-settings/tradingview-alert-payload-templates",
    ],
)  # fmt: skip
def test_every_list_can_be_read(sample: TestClient, path: str) -> None:
    answer = sample.get(path)
    assert answer.status_code == 200
    assert answer.json()


def test_everybody_can_log_in(sample: TestClient) -> None:
    for username, password in ACCOUNTS:
        answer = sample.post("/api/auth/login", json={"username": username, "password": password})
        assert answer.status_code == 200
        assert sample.get("/api/strategies/templates").status_code == 200
        assert sample.get("/api/brokers/zerodha/secrets").status_code == 200


def test_every_stored_key_is_computed_again_from_its_payload(
    facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that is sent again across the change of release has to meet its first copy."""
    monkeypatch.delenv("ST_CONFIG_DIR", raising=False)  # the keys were made with the shipped symbol map
    path = tmp_path / "sample.db"
    path.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
    query = (
        "SELECT o.client_order_id, a.raw_payload FROM orders o JOIN alerts a ON a.id = o.alert_id "
        "WHERE o.client_order_id IS NOT NULL"
    )
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(query).fetchall()
    assert len(rows) > 8000
    owner = User(id=1, username="any")
    different = []
    for key, raw in rows:
        payload = TradingViewWebhookPayload.model_validate_json(raw)
        if client_order_id(payload, normalize_tradingview_payload_for_zerodha(payload, owner)) != key:
            different.append((key, raw))
    assert different == []


def test_a_repeated_delivery_meets_its_first_copy(sample: TestClient) -> None:
    alert_ids = {row["alert_id"] for row in sample.get("/api/orders/").json()}
    alerts = sample.get("/api/tv-alerts?limit=1000").json()
    first = next(row for row in alerts if row["id"] in alert_ids and "sample-webhook" in row["raw_payload"])
    answer = sample.post(
        "/webhook", content=first["raw_payload"].encode(), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["status"]) == (201, "deduped")
    assert answer.json()["alert_id"] == first["id"]
    assert len(sample.get("/api/tv-alerts?limit=1000").json()) == len(alerts)
