"""The stored risk policy: a JSON document of which this slice reads only the main switch.

Everything else in the document is kept as it was written, so that storing a policy loses nothing.
"""

from __future__ import annotations

import json
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.crypto import decrypt_token
from app.services.shared.secret_rows import find_secret_row, store_secret_row

RISK_POLICY_BROKER_NAME: Final = "risk"
RISK_POLICY_KEY: Final = "risk_policy_v1"
ENFORCEMENT_FLAGS: Final = (
    "account_level", "per_trade", "position_sizing", "stop_rules", "trade_frequency", "loss_controls",
    "correlation_controls", "execution_safety", "emergency_controls", "overrides",
)  # fmt: skip


class RiskPolicy(BaseModel):
    """The policy document; its rule groups are carried as extra members."""

    model_config = ConfigDict(extra="allow")

    version: int = 1
    enabled: bool = False
    enforcement: dict[str, bool] = Field(default_factory=lambda: dict.fromkeys(ENFORCEMENT_FLAGS, True))


def get_risk_policy(db: Session, settings: Settings) -> tuple[RiskPolicy, str]:
    """(policy, db or default); a readable document without all enforcement flags is completed and stored."""
    row = find_secret_row(db, RISK_POLICY_BROKER_NAME, RISK_POLICY_KEY, None)
    if row is None:
        return RiskPolicy(), "default"
    try:
        policy = RiskPolicy.model_validate(json.loads(decrypt_token(settings, row.value_encrypted)))
    except (ValueError, RuntimeError, ValidationError):
        return RiskPolicy(), "default"
    missing = [flag for flag in ENFORCEMENT_FLAGS if flag not in policy.enforcement]
    if missing:
        policy.enforcement.update(dict.fromkeys(missing, True))
        set_risk_policy(db, settings, policy)
    return policy, "db"


def set_risk_policy(db: Session, settings: Settings, policy: RiskPolicy) -> RiskPolicy:
    """Store the policy, commit, return it."""
    text = json.dumps(policy.model_dump(mode="json"))
    store_secret_row(db, settings, RISK_POLICY_BROKER_NAME, RISK_POLICY_KEY, text, None)
    return policy
