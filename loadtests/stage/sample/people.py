"""Who is there, and what belongs to each: accounts, secrets, limits, groups, goals."""

from __future__ import annotations

import base64
import hashlib

from app.core.config import Settings
from app.core.crypto import encrypt_token
from loadtests.stage.sample.surprises import CASE_TWINS, SEEDED
from loadtests.stage.sample.values import SYMBOLS, USERS, WORDS, Place, Row, ids_of, json_text, moment

ADMIN_PASSWORD = "SigmaAdmin#2026"
PASSWORD = "sample-pass-2026"
CRYPTO_KEY = "sample-crypto-key-for-tests-0123456789"
WEBHOOK_SECRET = "sample-webhook-secret"
ITERATIONS = 260_000


def hashed(password: str) -> str:
    """A password as the application stores it, with a salt that does not change from run to run."""
    salt = hashlib.sha256(password.encode()).digest()[:16]
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    parts = [base64.urlsafe_b64encode(data).decode().rstrip("=") for data in (salt, digest)]
    return "$".join(["pbkdf2_sha256", str(ITERATIONS), *parts])


STRATEGIES = ids_of("strategies")
_HASH = hashed(PASSWORD)
_SETTINGS = Settings.model_construct(crypto_key=CRYPTO_KEY)  # whatever this environment says


def encrypted(text: str) -> str:
    """A secret as the application stores it."""
    return encrypt_token(_SETTINGS, text)


def encrypted_text(length: int) -> str:
    """A stored secret of so many characters, which have to be a multiple of four."""
    return encrypted("s" * (length // 4 * 3))


def users(at: Place) -> Row:
    name = USERS[at.number]
    return {
        "username": name, "password_hash": _HASH, "role": "TRADER", "display_name": f"{name} ☕",
        "email": None, "theme_id": None, "created_at": moment(at.number, fraction=at.number != 1),
    }  # fmt: skip


def broker_connections(at: Place) -> Row:
    return {
        "user_id": at.number + 2, "broker_name": at.one_of(("zerodha", "angelone")),
        "access_token_encrypted": encrypted(f"token {at.number}"), "broker_user_id": f"OP{at.number:04}",
    }  # fmt: skip


def broker_secrets(at: Place) -> Row:
    if at.number == 0:
        row = {"user_id": None, "broker_name": "webhook", "key": "tradingview_webhook_secret"}
        return row | {"value_encrypted": encrypted(WEBHOOK_SECRET)}
    return {
        "user_id": (at.number + 1) // 2, "broker_name": "zerodha",
        "key": at.one_of(("api_secret", "api_key")), "value_encrypted": encrypted(f"value {at.number}"),
    }  # fmt: skip


def twin_names(table: str, column: str, at: Place, name: str) -> str:
    """The name, or the one of the row before in other letters: as often as the surprises say."""
    if at.number < 2 * CASE_TWINS[table, column]:
        head = f"Momentum {at.number // 2}"
        return head if at.number % 2 else head.upper()
    return name


def strategies(at: Place) -> Row:
    user = 2 + at.number % 8
    place = Place(at.number - SEEDED["strategies"], at.id, at.draw)
    name = twin_names("strategies", "name", place, f"{at.one_of(WORDS)} {at.number} · {USERS[user - 1]}")
    return {
        "name": name, "owner_id": user, "scope": at.one_of(("LOCAL", None, "LOCAL", "GLOBAL")),
        "execution_mode": at.one_of(("AUTO", "MANUAL")), "execution_target": at.one_of(("LIVE", "PAPER")),
        "enabled": int(not at.often(5)), "is_builtin": 0, "paper_poll_interval_sec": None,
        "dsl_expression": None, "expression_json": None,
    }  # fmt: skip


def signal_strategies(at: Place) -> Row:
    place = Place(at.number - SEEDED["signal_strategies"], at.id, at.draw)
    name = twin_names("signal_strategies", "name", place, f"{at.one_of(WORDS)} {at.number}")
    return {
        "scope": "USER", "owner_id": 2 if place.number < 2 else 2 + at.number % 8, "name": name,
        "tags_json": '["a","b"]', "regimes_json": '["BULL"]', "latest_version": 1,
    }  # fmt: skip


def groups(at: Place) -> Row:
    name = twin_names("groups", "name", at, f"{at.one_of(WORDS)} basket {at.number}")
    return {
        "owner_id": 2 if at.number < 6 else 1 + at.number % 9, "name": name, "origin_basket_id": None,
        "kind": at.one_of(("WATCHLIST", "MODEL_PORTFOLIO", "HOLDINGS_VIEW", "PORTFOLIO")),
    }  # fmt: skip


def group_members(at: Place) -> Row:
    return {"symbol": f"{at.one_of(SYMBOLS)}{at.number}", "exchange": "NSE"}


def group_imports(at: Place) -> Row:
    return {"group_id": 40 + at.number, "original_filename": f"stocks_2026-01-02_सूची_{at.number}.csv"}


def holding_goals(at: Place) -> Row:
    return {"user_id": 2 + at.number % 8, "symbol": f"{at.one_of(SYMBOLS)}{at.number}", "exchange": "NSE"}


def risk_settings(at: Place) -> Row:
    strategy = None if at.number == 0 else STRATEGIES[at.number]
    return {
        "scope": "STRATEGY" if strategy else "GLOBAL", "strategy_id": strategy, "clamp_mode": "CLAMP",
        "symbol_whitelist": "INFY, TCS ,RELIANCE,M&M" if at.often(3) else None, "symbol_blacklist": None,
    }  # fmt: skip


def risk_profiles(at: Place) -> Row:
    return {"product": at.one_of(("CNC", "MIS")), "drawdown_mode": "SETTINGS_BY_CATEGORY",
            "order_type_policy": "LIMIT", "is_default": int(at.number == 0)}  # fmt: skip


def drawdown_thresholds(at: Place) -> Row:
    return {"user_id": None, "product": ("CNC", "MIS")[at.number // 4],
            "category": at.one_of(("LC", "MC", "SC", "ETF"))}  # fmt: skip


def symbol_risk_categories(at: Place) -> Row:
    # The first two are equal in their unique key, which holds NULL.
    symbol = "NIFTYBEES" if at.number < 2 else f"{at.one_of(SYMBOLS)}{at.number}"
    return {
        "user_id": None if at.number < 2 else 2 + at.number % 8, "broker_name": "zerodha", "symbol": symbol,
        "exchange": "NSE", "risk_category": at.one_of(("LC", "MC", "SC", "ETF")),
    }  # fmt: skip


def tradingview_alert_payload_templates(at: Place) -> Row:
    signal = {"strategy_id": "load", "strategy_name": at.one_of(WORDS)}
    return {"config_json": json_text(version="1.0", signal=signal, hints=[])}


ROOM = {
    "users": users, "broker_connections": broker_connections, "broker_secrets": broker_secrets,
    "strategies": strategies, "signal_strategies": signal_strategies, "groups": groups,
    "group_members": group_members, "group_imports": group_imports, "holding_goals": holding_goals,
    "risk_settings": risk_settings, "risk_profiles": risk_profiles,
    "drawdown_thresholds": drawdown_thresholds, "symbol_risk_categories": symbol_risk_categories,
    "tradingview_alert_payload_templates": tradingview_alert_payload_templates,
}  # fmt: skip
