"""What was traded: deliveries with their orders, positions, and what was decided and counted on the way."""

from __future__ import annotations

import json
from datetime import timedelta

from app.schemas.webhook import TradingViewWebhookPayload
from app.services.tradingview_zerodha_adapter import client_order_id
from loadtests.stage.sample.people import WEBHOOK_SECRET
from loadtests.stage.sample.surprises import (
    ALERTS_WITHOUT_ORDER,
    NULL_TWINS,
    PRICES_THAT_WERE_NAN,
    ROWS,
    TWO_FORMS,
    WITHOUT_FRACTION,
)
from loadtests.stage.sample.values import (
    START,
    SYMBOLS,
    USERS,
    WORDS,
    Place,
    Row,
    day,
    ids_of,
    json_text,
    moment,
    price,
)

# A time of day without a zone, in UTC and in Indian time: SQLite keeps the wall clock and drops the zone.
ZONES = ("Z", "+05:30", "")
# Names that hold nothing of `loadtests.traffic.signals`: a SELL of a held symbol takes the held quantity instead.
HELD = ("KOTAKBANK", "HINDUNILVR", "BAJFINANCE", "NTPC", "COALINDIA", "MCDOWELL-N", "RELIANCE")
ALERT_IDS = ids_of("alerts")
WITH_ORDER = ROWS["alerts"] - ALERTS_WITHOUT_ORDER
KEYED = ROWS["orders"] - NULL_TWINS["orders", "client_order_id"] - 1


def pair_time(table: str, column: str, at: Place) -> str:
    """A time of its own with microseconds; of the first rows two at a time share one instant, in both forms."""
    if at.number < 2 * TWO_FORMS.get((table, column), 0):
        return moment(at.number // 2 * 60) if at.number % 2 else moment(at.number // 2 * 60, fraction=False)
    return moment(at.number * 140 + at.draw.random())


def payload_of(number: int) -> TradingViewWebhookPayload:
    """The delivery behind an alert, always the same for a number."""
    bar = START + timedelta(minutes=number)
    with_bar = number % 4 != 0
    details = {"order_action": ("BUY", "SELL")[number % 2], "quantity": 1 + number % 500,
               "product": (None, "MIS", "CNC")[number % 3], "comment": f"{WORDS[number % len(WORDS)]} #{number}"}  # fmt: skip
    if number % 3 and not 0 < number <= PRICES_THAT_WERE_NAN * 3:
        details["price"] = 20 + (number * 7919 % 900_000) / 101
    return TradingViewWebhookPayload.model_validate({
        "secret": WEBHOOK_SECRET, "platform": "TRADINGVIEW", "st_user_id": USERS[1 + number % 8],
        "strategy_name": f"tv-only {number % 7} ☕", "symbol": f"NSE:{SYMBOLS[number % len(SYMBOLS)]}",
        "exchange": "NSE", "interval": "15", "trade_details": details,
        "order_id": f"Long-{number}" if with_bar and number % 5 == 0 else None,
        "bar_time": bar.isoformat() + ZONES[number % 3] if with_bar else None,
    })  # fmt: skip


def alerts(at: Place) -> Row:
    payload = payload_of(at.number)
    details = payload.trade_details
    raw = payload.model_dump_json()
    if 0 < at.number <= PRICES_THAT_WERE_NAN * 3 and at.often(3):
        raw = raw.replace('"price":null', '"price":NaN')
    bar = payload.bar_time
    return {
        "user_id": 2 + at.number % 8, "strategy_id": None, "symbol": payload.symbol, "exchange": "NSE",
        "interval": "15", "action": details.order_action, "qty": details.quantity, "price": details.price,
        "platform": "TRADINGVIEW", "source": "TRADINGVIEW", "rule_id": None, "reason": details.comment,
        "raw_payload": raw, "received_at": pair_time("alerts", "received_at", at),
        "bar_time": bar.replace(tzinfo=None).isoformat(" ", "microseconds") if bar else None,
    }  # fmt: skip


def order_jobs(at: Place) -> Row:
    """Done long ago: no worker of a demo may find one."""
    return {
        "order_id": 1 + at.number,
        "status": "DONE",
        "expires_at": moment(at.number),
        "locked_by": None,
        "locked_at": None,
    }


def orders(at: Place) -> Row:
    payload = payload_of(at.number) if at.number < WITH_ORDER else None
    product = at.one_of(("CNC", "MIS", "CNC", "NRML"))
    status = "WAITING" if at.often(4) else at.one_of(("EXECUTED", "CANCELLED", "FAILED", "REJECTED"))
    key = None
    if at.number < KEYED:
        key = client_order_id(payload) if payload else f"dep:{at.number}"
    return {
        "alert_id": ALERT_IDS[at.number] if payload else None, "user_id": 2 + at.number % 8,
        "symbol": payload.symbol if payload else at.one_of(SYMBOLS), "exchange": "NSE",
        "side": at.one_of(("BUY", "SELL")), "qty": float(at.number % 500),
        "price": round(price(at.draw) * 20) / 20, "order_type": at.one_of(("LIMIT", "LIMIT", "MARKET")),
        "product": product, "status": status, "mode": at.one_of(("MANUAL", "AUTO")),
        "execution_target": at.one_of(("LIVE", "PAPER", "LIVE")), "broker_name": "zerodha",
        "broker_account_id": None, "broker_order_id": None, "zerodha_order_id": None, "client_order_id": key,
        "error_message": f"Requeued “{at.number}”." if at.often(50) else None, "risk_spec_json": None,
        "trigger_operator": None, "gtt": 0, "synthetic_gtt": 0, "is_exit": int(at.often(9)),
        "deployment_id": 1 if at.often(30) else None, "deployment_action_id": None,
        "portfolio_group_id": 1 if at.often(40) else None, "strategy_id": None,
        "simulated": int(at.number % 3 == 1),
    }  # fmt: skip


def positions(at: Place) -> Row:
    return {"symbol": HELD[at.number], "product": at.one_of(("CNC", "MIS")), "exchange": "NSE",
            "qty": float(at.number - 3), "broker_name": "zerodha"}  # fmt: skip


def position_snapshots(at: Place) -> Row:
    return {"symbol": HELD[at.number % 7], "product": "CNC", "exchange": "NSE", "broker_name": "zerodha",
            "as_of_date": day(at.number // 7), "qty": float(at.number % 90 + 1)}  # fmt: skip


def equity_snapshots(at: Place) -> Row:
    return {"user_id": 1 + at.number % 5, "as_of_date": day(at.number // 5)}


def managed_risk_positions(at: Place) -> Row:
    spec = {"stop_loss": {"enabled": True, "value": 1.1}}
    return {"entry_order_id": at.number + 1, "risk_spec_json": json_text(**spec), "status": "ACTIVE",
            "product": "MIS", "side": "BUY", "execution_target": "LIVE"}  # fmt: skip


def execution_policy_state(at: Place) -> Row:
    return {"user_id": 2 + at.number % 8, "strategy_ref": f"tv:Café ☕ {at.number}", "product": "MIS"}


def alert_decision_logs(at: Place) -> Row:
    return {"decision": at.one_of(("PLACED", "BLOCKED")), "side": "BUY", "exchange": "NSE",
            "symbol": f"NSE:{at.one_of(SYMBOLS)}"}  # fmt: skip


def rebalance_policies(at: Place) -> Row:
    return {"owner_id": 2 + at.number, "group_id": 10 + at.number}


def rebalance_schedules(at: Place) -> Row:
    return {"policy_id": at.number + 1}


def rebalance_runs(at: Place) -> Row:
    twins = NULL_TWINS["rebalance_runs", "owner_id", "idempotency_key"] + 3
    return {
        "owner_id": 2 + at.number % 3, "status": at.one_of(("EXECUTED", "CREATED", "FAILED")), "mode": "MANUAL",
        "group_id": 1, "idempotency_key": None if at.number < twins else f"रीबैलेंस-{at.number}",
    }  # fmt: skip


def system_events(at: Place) -> Row:
    return {
        "level": at.one_of(("INFO", "INFO", "WARNING")), "category": at.one_of(("alert", "order", "webhook")),
        "message": f"event {at.number}", "created_at": pair_time("system_events", "created_at", at),
        "details": json.dumps({"order_id": at.number, "strategy": at.one_of(WORDS), "symbol": at.one_of(SYMBOLS),
                               "mode": "MANUAL"}, ensure_ascii=False),
    }  # fmt: skip


def candles(at: Place) -> Row:
    frame, rest = ("1m", "5m", "15m", "1d")[at.number % 4], at.number // 4
    symbol = SYMBOLS[rest % len(SYMBOLS)]
    step = {"1m": 60, "5m": 300, "15m": 900, "1d": 86400}[frame]
    opened = price(at.draw)
    return {
        "symbol": symbol, "exchange": "NSE", "timeframe": frame, "open": opened, "high": opened * 1.01,
        "low": opened * 0.99, "close": opened * 1.003, "volume": float(at.number % 10**6),
        "ts": moment((rest // len(SYMBOLS) - 1500) * step,
                     fraction=at.number >= WITHOUT_FRACTION["candles", "ts"]),
    }  # fmt: skip


ROOM = {
    "alerts": alerts, "orders": orders, "order_jobs": order_jobs, "positions": positions, "position_snapshots": position_snapshots,
    "equity_snapshots": equity_snapshots, "managed_risk_positions": managed_risk_positions,
    "execution_policy_state": execution_policy_state, "alert_decision_logs": alert_decision_logs,
    "rebalance_policies": rebalance_policies, "rebalance_schedules": rebalance_schedules,
    "rebalance_runs": rebalance_runs, "system_events": system_events, "candles": candles,
}  # fmt: skip
