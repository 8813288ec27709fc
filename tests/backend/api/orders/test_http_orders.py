"""Manual orders: entering, editing, listing, the queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.api import orders as orders_api
from app.db.session.routed import begin_write
from app.models import Alert, Group, Order, SystemEvent, User

URL = "/api/orders/"
ORDER: dict[str, Any] = {"symbol": "SBIN", "side": "BUY", "qty": 10}
READ_MEMBERS = {
    "id", "alert_id", "strategy_id", "portfolio_group_id", "origin", "broker_name", "symbol", "exchange",
    "side", "qty", "price", "trigger_price", "trigger_percent", "order_type", "product", "gtt",
    "synthetic_gtt", "trigger_operator", "armed_at", "last_checked_at", "last_seen_price", "triggered_at",
    "status", "mode", "execution_target", "simulated", "created_at", "updated_at", "broker_order_id",
    "zerodha_order_id", "broker_account_id", "error_message",
}  # fmt: skip


def _stored(db: Session, user: User | None, **values: Any) -> Order:
    defaults: dict[str, Any] = {"symbol": "SBIN", "side": "BUY", "qty": 1.0, "product": "CNC"}
    order = Order(user_id=user.id if user else None, **(defaults | values))
    db.add(order)
    db.commit()
    return order


def test_create(logged_in: TestClient, db: Session, user: User) -> None:
    answer = logged_in.post(URL, json=ORDER | {"order_type": "LIMIT", "price": 320.29, "product": "cnc"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == READ_MEMBERS
    assert (body["price"], body["product"], body["status"]) == (320.3, "cnc", "WAITING")
    assert (body["origin"], body["mode"], body["execution_target"]) == ("MANUAL", "MANUAL", "LIVE")
    assert body["created_at"].endswith("Z")
    order = db.get(Order, body["id"])
    assert order is not None and order.user_id == user.id
    assert logged_in.get(f"{URL}{body['id']}").json() == body


def test_create_needs_a_login(client: TestClient) -> None:
    assert client.post(URL, json=ORDER).json() == {"detail": "Not authenticated."}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"qty": 0}, "Quantity must be positive."),
        ({"price": -1}, "Price must be non-negative."),
        ({"broker_name": " Upstox "}, "Unsupported broker: upstox"),
        ({"gtt": True}, "GTT is supported only for LIMIT orders."),
        ({"gtt": True, "order_type": "LIMIT"}, "Price must be positive for GTT LIMIT orders."),
        ({"order_type": "SL", "price": 5}, "Trigger price must be positive for SL/SL-M orders."),
        ({"order_type": "SL-M"}, "Trigger price must be positive for SL/SL-M orders."),
        ({"order_type": "SL", "trigger_price": 5}, "Price must be positive for SL orders."),
        ({"order_type": "LIMIT", "price": 0.01}, "Price must be positive for LIMIT orders."),
        ({"trigger_price": 0}, "Trigger price must be positive when provided."),
    ],
)
def test_create_refuses(logged_in: TestClient, change: dict[str, Any], detail: str) -> None:
    answer = logged_in.post(URL, json=ORDER | change)
    assert (answer.status_code, answer.json()) == (400, {"detail": detail})


@pytest.mark.parametrize(
    "spec",
    [
        {"surprise": 1},
        {"trailing_stop": {"enabled": True, "value": 1}},
        {"stop_loss": {"enabled": True, "value": 1}, "trailing_activation": {"enabled": True, "value": 1}},
        {"stop_loss": {"enabled": True, "value": 0}},
        {"stop_loss": {"enabled": False, "mode": "XYZ"}},
    ],
)
def test_create_refuses_risk_spec(logged_in: TestClient, spec: dict[str, Any]) -> None:
    assert logged_in.post(URL, json=ORDER | {"risk_spec": spec}).status_code == 422


def test_gtt_and_risk_spec(logged_in: TestClient, db: Session) -> None:
    spec = {"stop_loss": {"enabled": True, "mode": "ABS", "value": 5}}
    body = ORDER | {"gtt": True, "order_type": "LIMIT", "price": 99.98, "risk_spec": spec}
    answer = logged_in.post(URL, json=body).json()
    assert (answer["trigger_price"], answer["gtt"], answer["synthetic_gtt"]) == (100.0, True, False)
    assert '"stop_loss"' in (db.scalars(select(Order.risk_spec_json)).one() or "")


def test_group_rules(logged_in: TestClient, db: Session, user: User) -> None:
    other = User(username="other", password_hash="x")
    db.add(other)
    db.flush()
    groups = [
        Group(name="watch", kind="WATCHLIST", owner_id=user.id),
        Group(name="theirs", kind="PORTFOLIO", owner_id=other.id),
        Group(name="mine", kind="PORTFOLIO", owner_id=user.id),
    ]
    db.add_all(groups)
    db.commit()
    answers = [logged_in.post(URL, json=ORDER | {"portfolio_group_id": group.id}) for group in groups]
    assert [answer.status_code for answer in answers] == [400, 403, 200]
    assert answers[0].json()["detail"] == f"Group {groups[0].id} is not a PORTFOLIO."
    assert answers[1].json()["detail"] == "Forbidden."


def test_auto_order_that_cannot_go_out_is_failed(logged_in: TestClient) -> None:
    answer = logged_in.post(URL, json=ORDER | {"mode": "AUTO"})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["error_message"]) == ("FAILED", "Zerodha is not connected.")


def test_lists(logged_in: TestClient, db: Session, user: User) -> None:
    other = User(username="other", password_hash="x")
    db.add(other)
    db.flush()
    same_time = datetime(2026, 1, 5, 4, tzinfo=UTC)
    mine = [_stored(db, user, created_at=same_time).id for _ in range(3)]
    _stored(db, other)
    unowned = _stored(db, None, status="OPEN", mode="AUTO", broker_name="angelone").id
    listed = [row["id"] for row in logged_in.get(URL).json()]
    assert listed == [unowned, *reversed(mine)]  # newest first, then the higher id
    assert [row["id"] for row in logged_in.get(f"{URL}queue").json()] == mine[::-1]
    assert [row["id"] for row in logged_in.get(f"{URL}?status=OPEN").json()] == [unowned]
    assert logged_in.get(f"{URL}?broker_name=%20ZERODHA%20").status_code == 200
    logged_in.cookies.clear()
    assert len(logged_in.get(URL).json()) == 5  # without a user: everything


def test_trailing_slash_redirects(client: TestClient) -> None:
    answer = client.get("/api/orders", follow_redirects=False)
    assert answer.status_code == 307
    assert client.get("/api/nothing").json() == {"detail": "Not Found"}


def test_alert_list_and_origin(logged_in: TestClient, db: Session, user: User) -> None:
    alert = Alert(user_id=user.id, symbol="A", action="BUY", raw_payload="{}", price=float("inf"))
    db.add_all([alert, Alert(symbol="B", action="BUY", raw_payload="{}", source="RULE")])
    db.commit()
    order = _stored(db, user, alert_id=alert.id)
    rows = logged_in.get("/api/tv-alerts").json()
    assert [(row["symbol"], row["strategy_name"], row["price"]) for row in rows] == [("A", None, None)]
    assert logged_in.get(f"{URL}{order.id}").json()["origin"] == "TRADINGVIEW"


def test_status(logged_in: TestClient, db: Session, user: User) -> None:
    order = _stored(db, user)
    path = f"{URL}{order.id}/status"
    before = logged_in.patch(path, json={"status": "WAITING"}).json()["updated_at"]
    cancelled = logged_in.patch(path, json={"status": "CANCELLED"}).json()
    assert cancelled["status"] == "CANCELLED" and cancelled["updated_at"] > before
    assert logged_in.patch(path, json={"status": "SENT"}).status_code == 422
    order = _stored(db, user, status="SENT")
    answer = logged_in.patch(f"{URL}{order.id}/status", json={"status": "WAITING"})
    assert answer.json() == {"detail": "Only WAITING/CANCELLED orders can be updated via this endpoint."}
    assert logged_in.patch(f"{URL}999/status", json={"status": "WAITING"}).status_code == 404


def test_edit(logged_in: TestClient, db: Session, user: User) -> None:
    order = _stored(db, user, price=5.0)
    path = f"{URL}{order.id}"
    unchanged = logged_in.patch(path, json={"qty": None}).json()
    assert unchanged["updated_at"] == logged_in.get(path).json()["updated_at"]
    edited = logged_in.patch(
        path, json={"qty": 7, "price": 0.01, "trigger_price": 320.26, "product": " mis ", "gtt": True}
    ).json()
    assert (edited["qty"], edited["price"], edited["trigger_price"]) == (7.0, 0.0, 320.25)
    assert (edited["product"], edited["gtt"], edited["synthetic_gtt"]) == ("MIS", True, False)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"qty": 0}, "Quantity must be positive."),
        ({"price": -0.05}, "Price must be non-negative."),
        ({"trigger_price": 0}, "Trigger price must be positive."),
        ({"product": "  "}, "Product must be non-empty."),
    ],
)
def test_edit_is_all_or_nothing(
    logged_in: TestClient, db: Session, user: User, change: dict[str, Any], detail: str
) -> None:
    path = f"{URL}{_stored(db, user).id}"
    before = logged_in.get(path).json()
    answer = logged_in.patch(path, json={"side": "SELL"} | change)
    assert (answer.status_code, answer.json()) == (400, {"detail": detail})
    assert logged_in.get(path).json() == before


@pytest.mark.parametrize("values", [{"mode": "AUTO"}, {"status": "SENT"}, {"simulated": True}])
def test_edit_refuses(logged_in: TestClient, db: Session, user: User, values: dict[str, Any]) -> None:
    answer = logged_in.patch(f"{URL}{_stored(db, user, **values).id}", json={"qty": 1})
    assert answer.json() == {"detail": "Only non-simulated WAITING MANUAL orders can be edited."}


def test_clearing_gtt_clears_its_tracking(logged_in: TestClient, db: Session, user: User) -> None:
    now = datetime.now(UTC)
    order = _stored(
        db, user, gtt=True, synthetic_gtt=True, trigger_operator=">=", armed_at=now, last_seen_price=1.0
    )
    body = logged_in.patch(f"{URL}{order.id}", json={"gtt": False}).json()
    cleared = ("trigger_operator", "armed_at", "last_checked_at", "last_seen_price", "triggered_at")
    assert [body[name] for name in cleared] == [None] * 5
    assert (body["gtt"], body["synthetic_gtt"]) == (False, False)


def test_move_to_waiting(logged_in: TestClient, db: Session, user: User) -> None:
    source = _stored(db, user, status="FAILED", mode="AUTO", error_message="boom", client_order_id="K1")
    path = f"{URL}{source.id}/move-to-waiting"
    copy = logged_in.post(path).json()
    assert (copy["status"], copy["mode"]) == ("WAITING", "MANUAL")
    assert copy["error_message"] == f"Requeued from order #{source.id}. Original: boom"
    again = logged_in.post(path).json()
    db.refresh(source)
    assert source.status == "FAILED"
    assert source.error_message == (
        f"boom Requeued to Waiting Queue as order #{copy['id']}. "
        f"Requeued to Waiting Queue as order #{again['id']}."
    )
    assert db.get(Order, copy["id"]).client_order_id is None
    event = db.scalars(select(SystemEvent).order_by(SystemEvent.id)).first()
    assert event is not None and event.message == "Order requeued to waiting queue"


@pytest.mark.parametrize(
    ("values", "status", "detail"),
    [
        ({"user_id": None}, 403, "Forbidden"),
        ({"simulated": True}, 400, "Simulated/PAPER orders cannot be moved to the manual queue."),
        ({"zerodha_order_id": "1"}, 400,
         "Order already has a broker order id; cannot move to waiting queue."),
        ({"status": "OPEN"}, 400, "Order status OPEN cannot be moved to waiting queue."),
        ({"status": "SENDING"}, 400,
         "Only WAITING/FAILED/REJECTED_RISK/CANCELLED orders can be requeued; got SENDING."),
    ],
)  # fmt: skip
def test_move_to_waiting_refuses(
    logged_in: TestClient, db: Session, user: User, values: dict[str, Any], status: int, detail: str
) -> None:
    order = _stored(db, user)
    for name, value in values.items():
        setattr(order, name, value)
    db.commit()
    answer = logged_in.post(f"{URL}{order.id}/move-to-waiting")
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})


def test_sync_needs_a_broker(logged_in: TestClient) -> None:
    assert logged_in.post(f"{URL}sync").json() == {"detail": "Zerodha is not connected."}


CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("PATCH", "/status", {"status": "CANCELLED"}), ("PATCH", "", {"qty": 5}), ("POST", "/move-to-waiting", {}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_an_order_that_is_just_being_sent_is_not_changed(
    logged_in: TestClient,
    db: Session,
    session_factory: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    body: dict[str, Any],
) -> None:
    """It became SENDING before the call had the order to itself: what the call writes must not cover that."""
    order_id = logged_in.post(URL, json=ORDER).json()["id"]
    begin = orders_api.begin_write

    def sent_before(session: Session, patience_s: float) -> None:
        with session_factory() as other:
            other.execute(update(Order).values(status="SENDING"))
            other.commit()
        begin(session, patience_s)

    monkeypatch.setattr(orders_api, "begin_write", sent_before)
    answer = logged_in.request(method, f"{URL}{order_id}{path}", json=body)
    assert answer.status_code == 400
    rows = db.execute(select(Order.status, Order.qty)).all()
    assert [tuple(row) for row in rows] == [("SENDING", ORDER["qty"])]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_an_order_that_is_being_changed_is_not_sent_meanwhile(
    logged_in: TestClient,
    db: Session,
    session_factory: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    body: dict[str, Any],
) -> None:
    order_id = logged_in.post(URL, json=ORDER).json()["id"]
    find, refusals = orders_api._find_to_change, list[str]()

    def sent_meanwhile(session: Session, of: int) -> Order:
        found = find(session, of)
        with session_factory() as other, pytest.raises(OperationalError) as refused:
            begin_write(other, 0.05)
            other.execute(update(Order).values(status="SENDING"))
        refusals.append(str(refused.value))
        return found

    monkeypatch.setattr(orders_api, "_find_to_change", sent_meanwhile)
    assert logged_in.request(method, f"{URL}{order_id}{path}", json=body).status_code == 200
    assert len(refusals) == 1
    assert "SENDING" not in db.scalars(select(Order.status)).all()
