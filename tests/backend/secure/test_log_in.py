"""Who gets in: accounts, the gate by role, and how often a password may be tried."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core import attempts as attempts_module
from app.core import auth
from app.core.attempts import ADDRESS_FACTOR, NAME_FACTOR, Attempts, address_of
from app.core.auth import SESSION_COOKIE_NAME, create_session_token, hash_password
from app.core.config import Settings
from app.core.security import NOT_ADMIN
from app.models import User
from app.services.shared import users
from app.services.shared.users import ensure_default_admin
from tests.backend.secure.conftest import SECRETS

MakeUser = Callable[..., User]
SECRET_PATH = "/api/webhook-settings/tradingview-secret"
ADMIN_PASSWORD = SECRETS["ST_ADMIN_PASSWORD"]


def log_in(client: TestClient, name: str, password: str) -> int:
    return client.post("/api/auth/login", json={"username": name, "password": password}).status_code


def test_nobody_can_register_unless_the_setting_says_so(client: TestClient, settings: Settings) -> None:
    account = {"username": "stranger", "password": "secret-1"}
    assert client.post("/api/auth/register", json=account).status_code == 403
    assert log_in(client, "stranger", "secret-1") == 401
    settings.allow_registration = True
    assert client.post("/api/auth/register", json=account).status_code == 201
    assert log_in(client, "stranger", "secret-1") == 200


def test_the_gate_asks_for_the_role(
    client: TestClient, db: Session, user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get(SECRET_PATH).status_code == 401
    trader = user()
    assert log_in(client, "trader1", "secret-1") == 200
    refused = client.get(SECRET_PATH)
    assert (refused.status_code, refused.json()) == (403, {"detail": NOT_ADMIN})
    assert client.get(SECRET_PATH, auth=("boss", ADMIN_PASSWORD)).status_code == 200
    assert client.get("/api/auth/me").status_code == 200
    trader.role = "ADMIN"
    db.commit()
    assert client.get(SECRET_PATH).json()["value"] == SECRETS["ST_TRADINGVIEW_WEBHOOK_SECRET"]


def test_the_former_rule_is_a_setting(
    client: TestClient, user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.cookies.set(SESSION_COOKIE_NAME, create_session_token(settings, user().id))
    assert client.get(SECRET_PATH).status_code == 403
    monkeypatch.setattr(settings, "any_session_is_admin", True)
    assert client.get(SECRET_PATH).status_code == 200


def test_the_account_needs_its_password(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "admin_password", None)
    assert client.get(SECRET_PATH, auth=("boss", "")).status_code == 401


@pytest.mark.parametrize("named", ["boss", None])
def test_the_password_of_the_revisions_logs_nobody_in(
    client: TestClient, db: Session, user: MakeUser, settings: Settings,
    monkeypatch: pytest.MonkeyPatch, named: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(users, "running_under_pytest", lambda: False)
    monkeypatch.setattr(settings, "admin_username", named)
    seeded = user("admin", "ADMIN", "admin")
    assert log_in(client, "admin", "admin") == 401  # as when the database could not be written at the start
    ensure_default_admin(db, settings)
    assert log_in(client, "admin", "admin") == 401
    assert log_in(client, "admin", ADMIN_PASSWORD) == 200
    kept = seeded.password_hash = hash_password("chosen-by-a-person")
    db.commit()
    ensure_default_admin(db, settings)
    assert seeded.password_hash == kept


@pytest.mark.parametrize("stored", [None, "x", "md5$1$eA$eA"])
def test_an_unknown_name_takes_as_many_rounds_as_a_known_one(
    client: TestClient, db: Session, user: MakeUser, monkeypatch: pytest.MonkeyPatch, stored: str | None
) -> None:
    rounds: list[int] = []
    derive = auth._derive

    def counted(password: str, salt: bytes, iterations: int) -> bytes:
        rounds.append(iterations)
        return derive(password, salt, iterations)

    user("known")
    if stored is not None:
        user("other").password_hash = stored
        db.commit()
    monkeypatch.setattr(auth, "_derive", counted)
    assert log_in(client, "known", "wrong") == 401
    assert log_in(client, "other", "wrong") == 401
    assert rounds == [1_000, 1_000]


def test_wrong_passwords_are_limited_for_a_name_and_an_address(
    client: TestClient, app: FastAPI, user: MakeUser, settings: Settings
) -> None:
    user()
    wrong = [log_in(client, "trader1", "wrong") for _ in range(7)]
    assert wrong == [401] * settings.login_attempts_per_minute + [429] * 2
    refused = client.post("/api/auth/login", json={"username": "trader1", "password": "secret-1"})
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    elsewhere = TestClient(app, base_url="https://testserver", client=("192.0.2.7", 5))
    assert log_in(elsewhere, "trader1", "secret-1") == 200  # a stranger does not lock out the owner


def test_right_passwords_do_not_count(client: TestClient, user: MakeUser) -> None:
    user()
    assert {log_in(client, "trader1", "secret-1") for _ in range(12)} == {200}


def test_basic_and_a_change_of_password_count_too(
    client: TestClient, user: MakeUser, settings: Settings
) -> None:
    def basic(password: str) -> int:
        return client.get(SECRET_PATH, auth=("boss", password)).status_code

    assert [basic("wrong") for _ in range(6)] == [401] * 5 + [429]
    assert basic(ADMIN_PASSWORD) == 429
    client.cookies.set(SESSION_COOKIE_NAME, create_session_token(settings, user().id))
    change = {"current_password": "wrong", "new_password": "secret-2"}
    answers = [client.post("/api/auth/change-password", json=change).status_code for _ in range(6)]
    assert answers == [400] * 5 + [429]


def tried(counts: Attempts, name: str, address: str, limit: int = 2) -> int:
    """One wrong attempt; 429 or 401."""
    try:
        with counts.one(name, address, limit):
            return 401
    except HTTPException as refused:
        return refused.status_code


def test_an_address_and_a_name_have_limits_of_their_own() -> None:
    counts = Attempts()
    by_address = [tried(counts, f"name{n}", "a") for n in range(2 * ADDRESS_FACTOR + 1)]
    assert by_address == [401] * 2 * ADDRESS_FACTOR + [429]
    by_name = [tried(counts, "victim", f"b{n}") for n in range(2 * NAME_FACTOR + 1)]
    assert by_name == [401] * 2 * NAME_FACTOR + [429]
    assert {tried(counts, "victim", "c", limit=0) for _ in range(99)} == {401}


def test_a_minute_later_the_counts_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(attempts_module.time, "monotonic", lambda: now[0])
    counts = Attempts()
    assert [tried(counts, "n", "a") for _ in range(3)] == [401, 401, 429]
    now[0] += attempts_module.WINDOW_S
    assert tried(counts, "n", "a") == 401


def test_many_attempts_at_once_do_not_slip_through() -> None:
    counts, barrier, answers = Attempts(), Barrier(8), list[int]()

    def attempt() -> None:
        try:
            with counts.one("n", "a", 2):
                barrier.wait(timeout=20)  # all are under way: none is known to be wrong yet
        except HTTPException as refused:
            answers.append(refused.status_code)
            barrier.wait(timeout=20)

    threads = [Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [429] * 6


def test_the_counts_are_bounded_and_the_attackers_own_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts_module, "MOST_KEYS", 50)
    counts = Attempts()
    answers = [tried(counts, "n" * 1_000 + str(n), "a", limit=100) for n in range(1_000)]
    assert len(counts) <= 50
    assert answers[-1] == 429
    assert max(len(part) for key in counts._counts for part in key) <= 64


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"), ("testclient", "testclient"), (None, ""),
    ],
)  # fmt: skip
def test_addresses_of_one_caller_are_one(host: str | None, address: str) -> None:
    scope = {"type": "http", "client": (host, 1) if host else None, "headers": []}
    assert address_of(Request(scope)) == address


@pytest.mark.usefixtures("own_stdout")
def test_no_attempt_leaves_its_password_in_a_log(
    client: TestClient, user: MakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    user()
    with caplog.at_level(logging.DEBUG):
        for password in ("hostile-wrong-pw", "secret-1", "hostile-wrong-pw" * 20):
            answer = client.post("/api/auth/login", json={"username": "trader1", "password": password})
            assert password not in answer.text
        client.get(SECRET_PATH, auth=("boss", ADMIN_PASSWORD))
        client.post("/webhook/tradingview", json={"secret": SECRETS["ST_TRADINGVIEW_WEBHOOK_SECRET"], "x": 1})
        client.post("/webhook/tradingview", json={"secret": "hostile-wrong-pw", "symbol": 5})
    metrics = client.get("/metrics").text
    for hidden in (*SECRETS.values(), "hostile-wrong-pw", "secret-1"):
        assert hidden not in caplog.text and hidden not in metrics
