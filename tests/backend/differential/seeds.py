"""Rows on which two databases could disagree: NULLs, mixed case, other scripts, equal times, long lists."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.auth import hash_password
from app.models import (
    Alert,
    Candle,
    Order,
    Position,
    PositionSnapshot,
    RiskSettings,
    Strategy,
    SystemEvent,
    TradingViewAlertPayloadTemplate,
    User,
)
from tests.backend.differential.backends import NOON

PASSWORD = "secret-1"
NAMES = (
    "Zulu",
    "alpha",
    "Ähre",
    "ähre",
    "Alpha",
    "मीनाक्षी",
    "_x",
    "a%b",
    "é",
    "e\u0301",
    "ß",
    "SS",
    "😀",
    "",
)
LONG_AGO = NOON - timedelta(days=3)


def plant(db: Session) -> int:
    """Insert the rows, the same on any database, and commit; returns the id of the user to log in."""
    for model in (Strategy, User):  # what the revisions brought along bears the time at which they ran
        db.execute(update(model).values(created_at=NOON, updated_at=NOON))
    hashed = hash_password(PASSWORD)
    users = [
        User(username=name, password_hash=hashed, role=role, display_name=shown)
        for name, role, shown in (
            ("trader1", "TRADER", "Trader One"), ("Trader1", "ADMIN", None), ("ट्रेडर", "TRADER", ""),
        )
    ]  # fmt: skip
    db.add_all(users)
    db.flush()
    strategies = [
        Strategy(
            name=f"{name} {number}",
            description=None if number % 3 else name,
            owner_id=None if number % 2 else users[0].id,
            scope=(None, "GLOBAL", "LOCAL")[number % 3],
            execution_mode=("MANUAL", "AUTO")[number % 2],
            execution_target=("LIVE", "PAPER")[number // 2 % 2],
            enabled=number % 5 != 0,
        )
        for number, name in enumerate(NAMES)
    ]
    db.add_all(strategies)
    db.flush()
    for number in range(120):
        _alert_and_order(db, number, users, strategies)
    db.add_all(_others(strategies))
    db.commit()
    return users[0].id


def _pick(values: Any, number: int) -> Any:
    return values[number % len(values)]


def _alert_and_order(db: Session, number: int, users: list[User], strategies: list[Strategy]) -> None:
    at = LONG_AGO + timedelta(minutes=number // 10)  # ten rows at a time are equally old
    owner = _pick((*users, None), number)
    alert = Alert(
        user_id=owner and owner.id,
        strategy_id=_pick((None, *(s.id for s in strategies)), number),
        symbol=_pick(NAMES, number) or "TCS",
        exchange=_pick((None, "NSE", "nse"), number),
        action=_pick(("BUY", "SELL"), number),
        qty=_pick((None, 0.1 + 0.2, 1e-7, 1e15, 3.0), number),
        price=_pick((None, 1 / 3, 812.37, 1e22), number),
        source=_pick(("TRADINGVIEW", "TRADINGVIEW", "tradingview"), number),
        raw_payload="{}",
        reason=_pick((None, "", "naïve | 'quoted' \\ \"both\""), number),
        received_at=at,
        bar_time=None if number % 3 else at.replace(microsecond=number),
    )
    db.add(alert)
    db.flush()
    db.add(
        Order(
            user_id=alert.user_id,
            alert_id=None if number % 7 == 0 else alert.id,
            strategy_id=alert.strategy_id,
            client_order_id=f"seed-{number}" if number % 2 else None,
            symbol=alert.symbol,
            exchange=alert.exchange,
            side=alert.action,
            qty=alert.qty or 0.0,
            price=alert.price,
            status=_pick(("WAITING", "WAITING", "FAILED", "SENT", "OPEN", "waiting", "CANCELLED"), number),
            mode=_pick(("MANUAL", "MANUAL", "AUTO"), number),
            broker_name=_pick(("zerodha", "zerodha", "angelone", "Zerodha"), number),
            simulated=number % 11 == 0,
            error_message=alert.reason,
            created_at=at,
            updated_at=at,
        )
    )
    db.flush()


def _others(strategies: list[Strategy]) -> list[Any]:
    rows: list[Any] = [RiskSettings(scope="GLOBAL", max_order_value=0.1)]
    rows += [RiskSettings(strategy_id=s.id, symbol_whitelist=s.name) for s in strategies[::4]]
    for number, name in enumerate(NAMES):
        symbol = name or "TCS"
        figures = {"qty": number - 3.0, "avg_price": number / 3, "pnl": 0.0 - 0.1 * number}
        place = {"symbol": symbol, "exchange": _pick(("NSE", "nse", "BSE"), number), "product": "CNC"}
        rows.append(Position(**place, **figures, last_updated=LONG_AGO))
        for day in range(4):
            as_of = (LONG_AGO - timedelta(days=day)).date()
            rows.append(PositionSnapshot(**place, **figures, as_of_date=as_of, captured_at=LONG_AGO))
        rows.append(
            TradingViewAlertPayloadTemplate(
                name=symbol, config_json='{"version": "1.0"}', created_at=LONG_AGO, updated_at=LONG_AGO
            )
        )
    rows += [
        SystemEvent(
            level=_pick(("INFO", "WARNING", "ERROR"), number),
            category=_pick(("alert", "Alert", "webhook"), number),
            message=_pick(NAMES, number),
            details=_pick((None, '{"a": 1}'), number),
            created_at=LONG_AGO + timedelta(seconds=number // 20),
        )
        for number in range(200)
    ]
    rows += [
        Candle(
            symbol="SBIN", exchange="NSE", timeframe=frame, ts=LONG_AGO + step * number,
            open=1 / 3, high=number, low=0.1, close=number / 7, volume=1e9 + number,
        )
        for frame, step in (("1m", timedelta(minutes=1)), ("1d", timedelta(days=-1)))
        for number in range(90)
    ]  # fmt: skip
    return rows
