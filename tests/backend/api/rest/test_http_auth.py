"""Accounts, log-in, and the gate in front of the rest."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.auth import SESSION_COOKIE_NAME, create_session_token
from app.core.config import Settings
from app.core.security import ADMIN, NOT_ADMIN
from app.models import User
from app.services.shared import users
from app.services.shared.users import ensure_default_admin

ACCOUNT = {"username": "मीनाक्षी", "password": "secret-1"}
BASIC = {"WWW-Authenticate": 'Basic realm="SigmaTrader Admin"'}


def test_register_log_in_and_out(client: TestClient) -> None:
    created = client.post("/api/auth/register", json=ACCOUNT)
    assert created.status_code == 201
    assert created.json() == {
        "id": created.json()["id"], "username": "मीनाक्षी", "role": "TRADER", "display_name": "मीनाक्षी",
        "theme_id": None,
    }  # fmt: skip
    assert client.get("/api/auth/me").json() == {"detail": "Not authenticated."}

    answer = client.post("/api/auth/login", json=ACCOUNT)
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
    assert "Secure" not in cookie and "Max-Age" not in cookie and "expires" not in cookie.lower()
    assert client.get("/api/auth/me").json()["username"] == "मीनाक्षी"

    assert client.post("/api/auth/theme", json={"theme_id": "dark"}).json()["theme_id"] == "dark"
    out = client.post("/api/auth/logout")
    assert out.status_code == 204 and 'st_session=""' in out.headers["set-cookie"]
    assert client.get("/api/auth/me").status_code == 401


def test_cookie_is_secure_in_production(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "environment", "Prod")
    client.post("/api/auth/register", json=ACCOUNT)
    assert "Secure" in client.post("/api/auth/login", json=ACCOUNT).headers["set-cookie"]


def test_refusals(client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    client.post("/api/auth/register", json=ACCOUNT)
    again = client.post("/api/auth/register", json=ACCOUNT)
    assert (again.status_code, again.json()) == (400, {"detail": "Username is already taken."})
    wrong = client.post("/api/auth/login", json=ACCOUNT | {"password": "other-1"})
    assert (wrong.status_code, wrong.json()) == (401, {"detail": "Invalid username or password."})
    assert client.post("/api/auth/register", json=ACCOUNT | {"username": "ab"}).status_code == 422
    monkeypatch.setattr(settings, "crypto_key", None)
    assert client.post("/api/auth/login", json=ACCOUNT).status_code == 400


def test_user_names_are_case_sensitive(client: TestClient) -> None:
    for name in ("trader_one", "Trader_One"):
        assert client.post("/api/auth/register", json=ACCOUNT | {"username": name}).status_code == 201


def test_change_password(client: TestClient) -> None:
    client.post("/api/auth/register", json=ACCOUNT)
    client.post("/api/auth/login", json=ACCOUNT)
    change = {"current_password": "wrong", "new_password": "secret-2"}
    refused = client.post("/api/auth/change-password", json=change)
    assert (refused.status_code, refused.json()) == (400, {"detail": "Current password is incorrect."})
    change["current_password"] = "secret-1"
    assert client.post("/api/auth/change-password", json=change).status_code == 204
    assert client.post("/api/auth/login", json=ACCOUNT).status_code == 401
    assert client.post("/api/auth/login", json=ACCOUNT | {"password": "secret-2"}).status_code == 200


def test_session_failures(client: TestClient, settings: Settings) -> None:
    client.cookies.set(SESSION_COOKIE_NAME, "nonsense")
    assert client.get("/api/auth/me").json() == {"detail": "Invalid or expired session."}
    client.cookies.clear()
    client.cookies.set(SESSION_COOKIE_NAME, create_session_token(settings, 4711))
    assert client.get("/api/auth/me").json() == {"detail": "User not found for this session."}


def test_the_gate(
    client: TestClient, db: Session, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/api/risk-settings/"
    assert client.get(path).status_code == 200  # open while a test is marked in the environment
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert client.get(path).json() == {"detail": "Administrator session required."}
    client.cookies.set(SESSION_COOKIE_NAME, create_session_token(settings, user.id))
    assert (client.get(path).status_code, client.get(path).json()) == (403, {"detail": NOT_ADMIN})
    monkeypatch.setattr(settings, "any_session_is_admin", True)
    assert client.get(path).status_code == 200  # any role, as the application once had it
    monkeypatch.setattr(settings, "any_session_is_admin", False)
    user.role = ADMIN
    db.commit()
    assert client.get(path).status_code == 200
    client.cookies.clear()

    monkeypatch.setattr(settings, "admin_username", "boss")
    monkeypatch.setattr(settings, "admin_password", "geheim")
    missing = client.get(path)
    assert missing.json() == {"detail": "Administrator credentials are required."}
    assert missing.headers["www-authenticate"] == BASIC["WWW-Authenticate"]
    wrong = client.get(path, auth=("boss", "x"))
    assert wrong.json() == {"detail": "Invalid administrator credentials."}
    assert client.get(path, auth=("boss", "geheim")).status_code == 200
    # The gate lets the operator in, but there is still no user.
    assert client.post("/api/strategies/", json={"name": "x"}, auth=("boss", "geheim")).json() == {
        "detail": "Not authenticated."
    }
    broken = client.get(path, headers={"Authorization": "Basic ???"})
    assert (broken.status_code, broken.json()) == (401, {"detail": "Not authenticated"})
    assert broken.headers["www-authenticate"] == "Basic"


@pytest.mark.parametrize("path", ["/", "/health", "/webhook", "/docs", "/openapi.json"])
def test_open_paths(client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert client.get(path).status_code == 200


def test_default_admin(db: Session, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_default_admin(db, settings)
    assert db.scalars(select(User)).all() == []  # nothing under pytest
    monkeypatch.setattr(users, "running_under_pytest", lambda: False)
    ensure_default_admin(db, settings)
    assert db.scalars(select(User)).all() == []  # nothing without a password
    monkeypatch.setattr(settings, "admin_password", "geheim")
    ensure_default_admin(db, settings)
    admin = db.scalars(select(User)).one()
    assert (admin.username, admin.role, admin.display_name) == ("admin", "ADMIN", "Administrator")
    admin.role, first_hash = "TRADER", admin.password_hash
    db.commit()
    ensure_default_admin(db, settings)
    assert (admin.role, admin.password_hash) == ("TRADER", first_hash)
    monkeypatch.setenv("ST_ADMIN_RESET_PASSWORD", "yes")
    ensure_default_admin(db, settings)
    assert admin.role == "ADMIN" and admin.password_hash != first_hash
