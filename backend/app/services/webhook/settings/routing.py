"""How webhook orders are routed when an operator has stored a routing of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.crypto import decrypt_token
from app.services.shared.secret_rows import find_secret_row, store_secret_row
from app.services.webhook.settings.secret import WEBHOOK_BROKER_NAME

TRADINGVIEW_WEBHOOK_CONFIG_KEY: Final = "tradingview_webhook_config"


def _text(value: Any, default: str) -> str:
    return value.strip() if isinstance(value, str) and value.strip() else default


def _choice(value: Any, allowed: tuple[str, ...], default: str) -> str:
    text = _text(value, default).upper()
    return text if text in allowed else default


@dataclass(frozen=True)
class TradingViewWebhookConfig:
    """Routing of webhook orders; the member order is the order in the stored text."""

    mode: str = "MANUAL"
    broker_name: str = "zerodha"
    execution_target: str = "LIVE"
    default_product: str = "CNC"
    fallback_to_waiting_on_error: bool = True

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TradingViewWebhookConfig:
        """Normalised routing: texts trimmed and re-cased, invalid members replaced by their default."""
        fallback = raw.get("fallback_to_waiting_on_error")
        return cls(
            mode=_choice(raw.get("mode"), ("MANUAL", "AUTO"), "MANUAL"),
            broker_name=_text(raw.get("broker_name"), "zerodha").lower(),
            execution_target=_choice(raw.get("execution_target"), ("LIVE", "PAPER"), "LIVE"),
            default_product=_text(raw.get("default_product"), "CNC").upper(),
            fallback_to_waiting_on_error=fallback if isinstance(fallback, bool) else True,
        )

    def to_dict(self) -> dict[str, Any]:
        """The five members in stored order."""
        return asdict(self)


def decode_webhook_config(settings: Settings, encrypted: str) -> TradingViewWebhookConfig:
    """The routing behind a stored value; defaults when it cannot be read."""
    try:
        raw = json.loads(decrypt_token(settings, encrypted))
    except (ValueError, RuntimeError):
        raw = {}
    return TradingViewWebhookConfig.from_dict(raw if isinstance(raw, dict) else {})


def get_tradingview_webhook_config_with_source(
    db: Session, settings: Settings, *, user_id: int | None = None
) -> tuple[TradingViewWebhookConfig, str]:
    """(routing, source): the user's own row (db_user), else the global one (db_global), else default."""
    owners: list[tuple[int | None, str]] = [(None, "db_global")]
    if user_id is not None:
        owners.insert(0, (user_id, "db_user"))
    for owner, source in owners:
        row = find_secret_row(db, WEBHOOK_BROKER_NAME, TRADINGVIEW_WEBHOOK_CONFIG_KEY, owner)
        if row is not None:
            return decode_webhook_config(settings, row.value_encrypted), source
    return TradingViewWebhookConfig(), "default"


def get_tradingview_webhook_config(
    db: Session, settings: Settings, *, user_id: int | None = None
) -> TradingViewWebhookConfig:
    """The routing in force for the user, or the global one."""
    return get_tradingview_webhook_config_with_source(db, settings, user_id=user_id)[0]


def set_tradingview_webhook_config(
    db: Session, settings: Settings, config: TradingViewWebhookConfig, *, user_id: int | None = None
) -> TradingViewWebhookConfig:
    """Store the routing for the user, or globally; commits and returns it."""
    text = json.dumps(config.to_dict())
    store_secret_row(db, settings, WEBHOOK_BROKER_NAME, TRADINGVIEW_WEBHOOK_CONFIG_KEY, text, user_id)
    return config
