"""What every answer carries, and what none does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.crypto import encrypt_token
from app.core.errors import MASK
from app.main import create_app
from app.models import BrokerSecret, User
from tests.backend.secure.conftest import SECRETS


@pytest.mark.parametrize(("environment", "secure"), [("prod", True), ("stage", True), ("dev", False)])
def test_the_session_cookie_is_for_this_site_and_no_script(
    client: TestClient, user: Callable[..., User], settings: Settings, environment: str, secure: bool
) -> None:
    settings.environment = environment
    user()
    given = client.post("/api/auth/login", json={"username": "trader1", "password": "secret-1"})
    taken = client.post("/api/auth/logout")
    for answer in (given, taken):
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie
        assert ("Secure" in cookie) is secure


@pytest.mark.parametrize("path", ["/", "/health", "/api/auth/me", "/no/such/path", "/docs"])
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["strict-transport-security"].startswith("max-age=")
    assert headers.get("cache-control") == ("no-store" if path.startswith("/api/") else None)


def test_refused_requests_have_the_headers_too(client: TestClient) -> None:
    refused = client.post("/api/auth/login", content=b"x" * (1 << 20) + b"x")
    assert (refused.status_code, refused.headers["x-frame-options"]) == (413, "DENY")


def test_development_does_not_bind_browsers_to_https(settings: Settings) -> None:
    settings.environment = "dev"
    headers = TestClient(create_app()).get("/health").headers
    assert "strict-transport-security" not in headers and headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/auth/login", {"username": "a", "password": "hostile-pw" * 20}),
        ("/api/auth/login", {"password": "hostile-pw"}),
        ("/api/auth/login", [{"password": "hostile-pw"}]),
        ("/api/auth/register", {"username": "abc", "password": ["hostile-pw"]}),
        ("/webhook", [{"secret": "hostile-pw", "symbol": "A"}]),
    ],
)
def test_a_refusal_does_not_repeat_the_secret(client: TestClient, path: str, body: object) -> None:
    refused = client.post(path, json=body)
    assert refused.status_code == 422
    assert "hostile-pw" not in refused.text and MASK in refused.text


@pytest.mark.parametrize(("environment", "shown"), [("prod", False), ("dev", True)])
def test_only_development_shows_a_stack_trace(settings: Settings, environment: str, shown: bool) -> None:
    settings.environment, settings.debug = environment, True
    app: FastAPI = create_app()

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("in the trace")

    text = TestClient(app, raise_server_exceptions=False).get("/broken").text
    assert ("in the trace" in text) is shown


@pytest.mark.parametrize("stored", ["", "   "])
def test_a_blank_stored_webhook_secret_does_not_open_the_webhook(
    client: TestClient, db: Session, settings: Settings, stored: str
) -> None:
    row = BrokerSecret(broker_name="webhook", key="tradingview_webhook_secret")
    row.value_encrypted = encrypt_token(settings, stored)
    db.add(row)
    db.commit()
    signal = {"st_user_id": "nobody", "strategy_name": "s", "symbol": "NSE:TCS"}
    signal |= {"trade_details": {"order_action": "BUY"}}  # type: ignore[dict-item]
    answers = [
        client.post("/webhook", json=signal | {"secret": secret}).status_code
        for secret in ("anything", "", SECRETS["ST_TRADINGVIEW_WEBHOOK_SECRET"])
    ]
    assert answers == [401, 401, 201]
