"""Strategies and their expressions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Alert, Order, RiskSettings, Strategy, User
from app.services.strategies.dsl import parse_expression
from app.services.strategies.errors import IndicatorAlertError
from app.services.strategies.expression import expression_to_dict

URL = "/api/strategies/"


def _indicator(kind: str, timeframe: str = "1d", **params: int) -> dict[str, Any]:
    return {"type": "INDICATOR", "spec": {"kind": kind, "timeframe": timeframe, "params": params}}


def _comparison(operator: str, left: Any, right: Any) -> dict[str, Any]:
    return {"type": "COMPARISON", "operator": operator, "left": left, "right": right}


def _number(value: float) -> dict[str, Any]:
    return {"type": "NUMBER", "value": value}


RSI_HIGH = _comparison("GT", _indicator("RSI", period=14), _number(70.0))
QTY_ONE = _comparison("GTE", {"type": "FIELD", "name": "QTY"}, _number(1.0))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("rsi(14) > 70", RSI_HIGH),
        ("RSI(close, 14, 1d) > +70", RSI_HIGH),
        ("RSI(14)>70 & ; qty >= 1.0 OR", None),
        ("PRICE(1d) > SMA(20,1d)", _comparison("GT", _indicator("PRICE"), _indicator("MA", period=20))),
        ("MOMENTUM(20, 15m) < -10",
         _comparison("LT", _indicator("PERF_PCT", "15m", period=20), _number(-10.0))),
        ("VWAP() crosses_above 5",
         _comparison("CROSS_ABOVE", _indicator("VWAP"), _number(5.0))),
        ("DRAWDOWN_FROM_PEAK_PCT == 1.5",
         _comparison("EQ", {"type": "FIELD", "name": "DRAWDOWN_PCT"}, _number(1.5))),
        ("RSI(14) > 70 AND QTY >= 1 or not (QTY >= 1)",
         {"type": "LOGICAL", "op": "OR", "children": [
             {"type": "LOGICAL", "op": "AND", "children": [RSI_HIGH, QTY_ONE]},
             {"type": "NOT", "child": QTY_ONE}]}),
    ],
)  # fmt: skip
def test_expressions(text: str, tree: dict[str, Any] | None) -> None:
    if tree is None:
        with pytest.raises(IndicatorAlertError):
            parse_expression(text)
    else:
        assert expression_to_dict(parse_expression(text)) == tree


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FOO(1) > 2", "Unknown indicator 'FOO'"),
        ("FOO > 2", "Unknown field 'FOO'"),
        ("QTY >", "Unexpected end of expression"),
        ("QTY > 1 )", "Unexpected token ')' at end of expression"),
        ("QTY > 1 2", "Unexpected token '2' at end of expression"),
        ("RSI(14, 2w) > 1", "Unsupported timeframe '2w'"),
        ("RSI(14, 1d, 3) > 1", "Too many arguments; expected (period), (tf), or (period, tf)"),
    ],
)
def test_expression_errors(logged_in: TestClient, text: str, reason: str) -> None:
    answer = logged_in.post(URL, json={"name": "x", "dsl_expression": text})
    assert (answer.status_code, answer.json()) == (400, {"detail": f"Invalid DSL expression: {reason}"})


def test_create_and_update(logged_in: TestClient, db: Session, user: User) -> None:
    body = {"name": "mine", "dsl_expression": "  RSI(14) > 70 ", "scope": "LOCAL"}
    created = logged_in.post(URL, json=body)
    assert created.status_code == 201
    assert created.json() == {
        "name": "mine", "description": None, "execution_mode": "MANUAL", "execution_target": "LIVE",
        "paper_poll_interval_sec": None, "enabled": True, "available_for_alert": True, "scope": "LOCAL",
        "dsl_expression": "RSI(14) > 70", "id": created.json()["id"], "is_builtin": False,
    }  # fmt: skip
    row = db.scalars(select(Strategy)).one()
    assert row.owner_id == user.id and json.loads(row.expression_json or "") == RSI_HIGH

    path = f"{URL}{row.id}"
    assert logged_in.post(URL, json={"name": "mine"}).json() == {
        "detail": "Strategy with this name already exists."
    }
    changed = logged_in.put(path, json={"dsl_expression": " ", "enabled": False}).json()
    assert (changed["dsl_expression"], changed["enabled"], changed["name"]) == (None, False, "mine")
    assert logged_in.put(path, json={"name": "mine"}).status_code == 200
    assert logged_in.put(path, json={"name": None}).status_code == 422
    logged_in.post(URL, json={"name": "second"})
    assert logged_in.put(path, json={"name": "second"}).status_code == 400
    assert logged_in.get(f"{URL}999").json() == {"detail": "Not found"}


def test_who_may_change_what(logged_in: TestClient, db: Session, user: User) -> None:
    other = User(username="other", password_hash="x")
    db.add(other)
    db.flush()
    builtin = Strategy(name="builtin", is_builtin=True)
    theirs = Strategy(name="theirs", owner_id=other.id)
    nobodys = Strategy(name="nobodys")
    db.add_all([builtin, theirs, nobodys])
    db.commit()
    assert logged_in.put(f"{URL}{builtin.id}", json={"available_for_alert": False}).status_code == 200
    refused = logged_in.put(f"{URL}{builtin.id}", json={"enabled": False})
    assert refused.json() == {"detail": "Built-in strategies cannot be modified."}
    assert logged_in.delete(f"{URL}{builtin.id}").json() == {
        "detail": "Built-in strategies cannot be deleted."
    }
    for call in (logged_in.put(f"{URL}{theirs.id}", json={}), logged_in.delete(f"{URL}{theirs.id}")):
        assert (call.status_code, call.json()) == (404, {"detail": "Strategy not found."})
    assert logged_in.put(f"{URL}{nobodys.id}", json={"enabled": False}).status_code == 200


def test_delete_takes_alerts_and_limits_along(logged_in: TestClient, db: Session, user: User) -> None:
    strategy = Strategy(name="mine", owner_id=user.id)
    db.add(strategy)
    db.flush()
    alert = Alert(strategy_id=strategy.id, symbol="A", action="BUY", raw_payload="{}")
    db.add_all([alert, RiskSettings(scope="STRATEGY", strategy_id=strategy.id)])
    db.flush()
    order = Order(strategy_id=strategy.id, alert_id=alert.id, symbol="A", side="BUY", qty=1)
    db.add(order)
    db.commit()
    assert logged_in.delete(f"{URL}{strategy.id}").status_code == 204
    for model in (Strategy, Alert, RiskSettings):
        assert db.scalar(select(func.count()).select_from(model)) == 0
    db.refresh(order)
    assert (order.strategy_id, order.alert_id) == (None, None)


def test_templates(logged_in: TestClient, db: Session, user: User) -> None:
    rows: list[dict[str, Any]] = [
        {"name": "b", "scope": "GLOBAL"}, {"name": "B", "scope": "LOCAL", "owner_id": user.id},
        {"name": "a", "dsl_expression": "QTY > 1"}, {"name": "plain"},
        {"name": "off", "scope": "GLOBAL", "available_for_alert": False},
    ]  # fmt: skip
    db.add_all([Strategy(**row) for row in rows])
    db.commit()
    path = f"{URL}templates"
    assert [row["name"] for row in logged_in.get(path, params={"symbol": "X"}).json()] == ["B", "a", "b"]
    assert [row["name"] for row in logged_in.get(f"{path}?scope=LOCAL").json()] == ["B"]
    assert logged_in.get(f"{path}?symbol=").status_code == 422
    logged_in.cookies.clear()
    assert logged_in.get(path).status_code == 401
