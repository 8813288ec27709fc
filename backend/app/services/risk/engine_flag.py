"""The stored switch of the policy-based risk engine."""

from __future__ import annotations

import json
from typing import Final, Literal

from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.crypto import decrypt_token
from app.models import BrokerSecret
from app.services.shared.secret_rows import find_secret_row, store_secret_row

RISK_BROKER_NAME: Final = "risk"
RISK_ENGINE_V2_KEY: Final = "risk_engine_v2_enabled"
RiskEngineV2FlagSource = Literal["db", "env_default", "db_invalid"]


def get_risk_engine_v2_enabled(db: Session, settings: Settings) -> tuple[bool, RiskEngineV2FlagSource]:
    """(enabled, where that comes from); a stored value that cannot be read means off."""
    row = find_secret_row(db, RISK_BROKER_NAME, RISK_ENGINE_V2_KEY, None)
    if row is None:
        return settings.risk_engine_v2_enabled, "env_default"
    try:
        enabled = json.loads(decrypt_token(settings, row.value_encrypted))["enabled"]
    except (ValueError, RuntimeError, KeyError, TypeError):
        return False, "db_invalid"
    return (enabled, "db") if isinstance(enabled, bool) else (False, "db_invalid")


def set_risk_engine_v2_enabled(db: Session, settings: Settings, enabled: bool) -> BrokerSecret:
    """Store the switch, commit, return the row."""
    text = json.dumps({"enabled": enabled})
    return store_secret_row(db, settings, RISK_BROKER_NAME, RISK_ENGINE_V2_KEY, text, None)
