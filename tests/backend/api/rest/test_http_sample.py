"""The application on a database like one in long use, with everything that creeps into it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import make_url
from sqlalchemy.orm import Session, sessionmaker

from app.core.config import Settings
from app.db import get_db
from app.db.common.settings import ShimSettings
from app.db.session.engines import make_engine
from app.main import app
from app.schemas.webhook import TradingViewWebhookPayload
from app.services.webhook.normalize import (
    client_order_id,
    order_id_keys,
)
from loadtests.stage.sample import ADMIN_PASSWORD, CRYPTO_KEY, PASSWORD
from tests import facts

ACCOUNTS = [("admin", ADMIN_PASSWORD), ("मीनाक्षी_डेस्क", PASSWORD), ("Trader_One", PASSWORD)]


@pytest.fixture
def sample(
    sample_file: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """The application on a copy of the sample database."""
    path = tmp_path / "sample.db"
    shutil.copy(sample_file, path)
    monkeypatch.setattr(settings, "crypto_key", CRYPTO_KEY)
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


@pytest.mark.parametrize(("key", "raw"), facts.keys())
def test_every_stored_key_is_computed_again_from_its_payload(
    key: str, raw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that is sent again across the change of release has to meet its first copy."""
    monkeypatch.delenv("ST_CONFIG_DIR", raising=False)  # the keys were made with the shipped symbol map
    payload = TradingViewWebhookPayload.model_validate_json(raw)
    assert key in (client_order_id(payload), order_id_keys(payload)[1])


def test_a_delivery_of_a_stored_bar_meets_its_first_copy(sample: TestClient) -> None:
    first = _stored_delivery(sample, with_bar=True)
    alerts = len(sample.get("/api/tv-alerts?limit=1000").json())
    answer = _send_again(sample, first)
    assert (answer["status"], answer["alert_id"]) == ("deduped", first["id"])
    assert len(sample.get("/api/tv-alerts?limit=1000").json()) == alerts


def test_equal_content_long_after_is_a_new_signal(sample: TestClient) -> None:
    first = _stored_delivery(sample, with_bar=False)
    answer = _send_again(sample, first)
    assert answer["status"] == "accepted"
    assert answer["alert_id"] > first["id"]
    assert _send_again(sample, first)["alert_id"] == answer["alert_id"]


def _stored_delivery(sample: TestClient, *, with_bar: bool) -> dict[str, Any]:
    """A stored alert that has an order and names the secret in force."""
    alert_ids = {row["alert_id"] for row in sample.get("/api/orders/").json()}
    return next(
        row
        for row in sample.get("/api/tv-alerts?limit=1000").json()
        if row["id"] in alert_ids
        and "sample-webhook" in row["raw_payload"]
        and (row["bar_time"] is not None) is with_bar
    )


def _send_again(sample: TestClient, alert: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    answer = sample.post("/webhook", content=alert["raw_payload"].encode(), headers=headers)
    assert answer.status_code == 201
    body: dict[str, Any] = answer.json()
    return body
