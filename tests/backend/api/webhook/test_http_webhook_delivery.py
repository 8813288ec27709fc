"""What a delivery must never do: be stored twice, be stored in part, or leave its secret behind."""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.api import webhook as webhook_api
from app.core.config import Settings
from app.core.crypto import encrypt_token
from app.main import app
from app.models import Alert, BrokerSecret, Order, Strategy, SystemEvent, User
from app.services.webhook.door import group
from app.services.webhook.lookup import GroupFound
from app.services.webhook.settings.secret import set_tradingview_webhook_secret
from tests.backend.api.api_values import WEBHOOK_SECRET

URL = "/webhook/tradingview"
LEGACY: dict[str, Any] = {
    "secret": WEBHOOK_SECRET,
    "st_user_id": "trader1",
    "strategy_name": "breakout",
    "symbol": "NSE:SBIN",
    "trade_details": {"order_action": "BUY", "quantity": 10, "price": 812.37},
}


def _count(db: Session, model: type[Any]) -> int:
    db.rollback()
    return db.scalar(select(func.count()).select_from(model)) or 0


@pytest.mark.parametrize("with_order_id", [True, False], ids=["order id", "hash"])
def test_simultaneous_copies_leave_one_alert_and_one_order(
    client: TestClient, db: Session, user: User, with_order_id: bool
) -> None:
    copies = 8
    payload = dict(LEGACY)
    if with_order_id:
        payload |= {"order_id": "Long-1", "bar_time": "2026-01-27T05:45:00Z"}

    def send(_number: int) -> Any:
        return TestClient(app, raise_server_exceptions=False).post(URL, json=payload)

    with ThreadPoolExecutor(copies) as pool:
        answers = list(pool.map(send, range(copies)))
    assert [answer.status_code for answer in answers] == [201] * copies
    bodies = [answer.json() for answer in answers]
    assert len({(body["alert_id"], body["order_id"]) for body in bodies}) == 1
    assert sorted(body["status"] for body in bodies) == ["accepted"] + ["deduped"] * (copies - 1)
    assert (_count(db, Alert), _count(db, Order), _count(db, SystemEvent)) == (1, 1, copies)


def test_a_copy_that_slips_past_the_first_look_is_decided_by_the_index(
    client: TestClient, db: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.post(URL, json=LEGACY).json()
    look = group.look_up_all

    def blind_once(*arguments: Any) -> GroupFound:
        monkeypatch.setattr(group, "look_up_all", look)
        return replace(look(*arguments), orders={})

    monkeypatch.setattr(group, "look_up_all", blind_once)
    second = client.post(URL, json=LEGACY)
    assert second.status_code == 201
    assert second.json() == {
        "status": "deduped", "order_id": first["order_id"], "alert_id": first["alert_id"],
    }  # fmt: skip
    assert (_count(db, Alert), _count(db, Order)) == (1, 1)


def test_nothing_is_stored_when_the_order_fails(
    client: TestClient, db: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> Order:
        raise OperationalError("INSERT", {}, Exception("gone"))

    monkeypatch.setattr(webhook_api, "create_order_from_alert", fail)
    answer = client.post(URL, json=LEGACY)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert (_count(db, Alert), _count(db, Order), _count(db, SystemEvent)) == (0, 0, 0)


def _verbs(statements: list[str]) -> list[str]:
    return [statement.split()[0] for statement in statements]


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_delivery_is_one_look_and_three_rows_in_one_commit(
    client: TestClient, user: User, statements: list[str], endings: list[str], side: str
) -> None:
    """The look of a SELL finds the position too."""
    answer = client.post(URL, json=LEGACY | {"trade_details": {"order_action": side, "quantity": 10}})
    assert answer.json()["status"] == "accepted"
    assert _verbs(statements) == ["SELECT"] + ["INSERT"] * 3
    assert endings == ["commit"]


def test_a_repeated_delivery_is_one_look_and_one_row_in_one_commit(
    client: TestClient, user: User, statements: list[str], endings: list[str]
) -> None:
    client.post(URL, json=LEGACY)
    statements.clear()
    endings.clear()
    assert client.post(URL, json=LEGACY).json()["status"] == "deduped"
    assert _verbs(statements) == ["SELECT", "INSERT"]
    assert endings == ["commit"]


def test_a_default_users_delivery_takes_the_user_from_the_same_look(
    client: TestClient, user: User, statements: list[str], endings: list[str]
) -> None:
    """Its own event is one more row; a key made of the content waits for the user's name, so one more look."""
    signal = {"strategy_id": "S", "symbol": "SBIN", "exchange": "NSE", "side": "BUY", "price": 1}
    alert = {"meta": {"secret": WEBHOOK_SECRET}, "signal": signal, "hints": {}}
    assert client.post(URL, json=alert).json()["status"] == "accepted"
    assert _verbs(statements) == ["SELECT"] * 2 + ["INSERT"] * len(statements[2:])
    statements.clear()
    signal |= {"order_id": "L", "timestamp": "2026-01-27T05:45:00Z"}
    assert client.post(URL, json=alert).json()["status"] == "accepted"
    assert _verbs(statements) == ["SELECT"] + ["INSERT"] * len(statements[1:])
    assert endings == ["commit"] * 2


def test_a_refused_delivery_is_one_look_and_its_event(
    client: TestClient, user: User, statements: list[str], endings: list[str]
) -> None:
    assert client.post(URL, json=LEGACY | {"secret": "wrong"}).status_code == 401
    assert _verbs(statements) == ["SELECT", "INSERT"]
    assert endings == ["commit"]


def test_a_changed_secret_counts_from_the_next_delivery_on(
    client: TestClient, db: Session, settings: Settings, user: User
) -> None:
    """Another worker may have changed it: nothing of it is kept between deliveries."""
    assert client.post(URL, json=LEGACY).status_code == 201
    set_tradingview_webhook_secret(db, settings, "another")
    assert client.post(URL, json=LEGACY).status_code == 401
    set_tradingview_webhook_secret(db, settings, "")
    assert client.post(URL, json=LEGACY).status_code == 201


def test_the_secret_is_neither_stored_nor_logged(
    client: TestClient, db: Session, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    text = json.dumps(LEGACY)
    bodies = [
        text,
        text.replace("SBIN", "ITC")[:-1] + ",}",
        text[:-3],  # not JSON: a preview is kept
        f"{{'secret': '{WEBHOOK_SECRET}' BUY",
        f"secret: {WEBHOOK_SECRET} BUY SBIN",
        '{"pad":"' + "x" * 440 + f'","secret":"{WEBHOOK_SECRET * 5}" BUY',
        json.dumps(LEGACY | {"symbol": None}),
    ]
    for body in bodies:
        for content_type in ("application/json", "text/plain"):
            client.post(URL, content=body, headers={"Content-Type": content_type})
    client.post(URL, json=LEGACY | {"secret": "x"}, headers={"X-SIGMATRADER-SECRET": WEBHOOK_SECRET + "y"})
    assert _count(db, Alert) == 2
    stored = [*db.scalars(select(Alert.raw_payload)), *db.scalars(select(SystemEvent.details))]
    assert len(stored) > 5
    assert not [value for value in stored if value and WEBHOOK_SECRET[:9] in value]
    assert WEBHOOK_SECRET not in caplog.text


def test_the_key_is_hashed_over_the_payload_with_its_secret(
    client: TestClient, db: Session, user: User
) -> None:
    client.post(URL, json=LEGACY)
    alert = db.scalars(select(Alert)).one()
    with_secret = alert.raw_payload.replace('"secret":"***"', f'"secret":"{WEBHOOK_SECRET}"')
    digest = hashlib.sha1(with_secret.encode()).hexdigest()[:20]
    assert db.scalars(select(Order.client_order_id)).one() == f"TVA:{digest}"


def test_an_undecodable_stored_secret_lets_nobody_in(
    client: TestClient, db: Session, user: User, settings: Settings
) -> None:
    row = BrokerSecret(broker_name="webhook", key="tradingview_webhook_secret", value_encrypted="____")
    db.add(row)
    db.commit()
    assert client.post(URL, json=LEGACY).status_code == 401
    row.value_encrypted = encrypt_token(settings, "stored-one")
    db.commit()
    assert client.post(URL, json=LEGACY).status_code == 401
    assert client.post(URL, json=LEGACY | {"secret": " stored-one "}).status_code == 201


def test_no_secret_configured_means_no_check(
    client: TestClient, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "tradingview_webhook_secret", "  ")
    assert client.post(URL, json=LEGACY | {"secret": "anything"}).status_code == 201


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1", True), ("x" * 64, True), ("x" * 65, False), ("", False), ("tab\there", False), ("é", False)],
)
def test_request_ids(client: TestClient, db: Session, given: str, kept: bool) -> None:
    client.post(URL, json=LEGACY | {"st_user_id": None}, headers={"X-Request-ID": given.encode("latin-1")})
    stored = db.scalars(select(SystemEvent.correlation_id)).one()
    assert (stored == given) if kept else (len(stored or "") == 36)


def test_default_users(client: TestClient, db: Session, settings: Settings) -> None:
    v1 = {"meta": {}, "signal": {"symbol": "A", "side": "BUY", "strategy_id": "s"}, "secret": WEBHOOK_SECRET}
    assert client.post(URL, json=v1).json() == {
        "status": "ignored", "reason": "unknown_st_user_id", "st_user_id": "",
    }  # fmt: skip
    names = [("low", "TRADER"), ("boss2", "ADMIN"), ("admin", "TRADER"), ("named", "TRADER")]
    users = [User(username=name, role=role, password_hash="x") for name, role in names]
    for number, (expected, added) in enumerate([("low", 0), ("boss2", 1), ("admin", 2)]):
        db.add(users[added])
        db.commit()
        v1["signal"]["price"] = number
        order_id = client.post(URL, json=v1).json()["order_id"]
        owner = db.scalars(
            select(User.username).join(Order, Order.user_id == User.id).where(Order.id == order_id)
        )
        assert owner.one() == expected


def test_disabled_strategy_does_not_route(client: TestClient, db: Session, user: User) -> None:
    db.add(Strategy(name="breakout", execution_mode="AUTO", enabled=False))
    db.commit()
    assert client.post(URL, json=LEGACY).json()["status"] == "accepted"
    order = db.scalars(select(Order)).one()
    assert (order.mode, order.strategy_id) == ("MANUAL", None)
