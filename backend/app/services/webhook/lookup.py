"""What the stored rows say about a delivery, read by one statement: settings, user, strategy, earlier copy.

Every check finds its answer in that row or in its lack, so it does not matter that some are read in vain
for a delivery which is then refused. The statements are built once: to build one costs more than to
execute it. They name tables, not classes, because nothing of what they read is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, bindparam, literal, or_, select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.crypto import decrypt_token
from app.core.security import same_text
from app.models import BrokerSecret, Order, Strategy, User
from app.services.shared.users import default_user_name, default_user_rank
from app.services.webhook.settings.routing import (
    TRADINGVIEW_WEBHOOK_CONFIG_KEY,
    TradingViewWebhookConfig,
    decode_webhook_config,
)
from app.services.webhook.settings.secret import TRADINGVIEW_WEBHOOK_SECRET_KEY, WEBHOOK_BROKER_NAME

_USERS, _STRATEGIES = User.__table__.c, Strategy.__table__.c
_SECRETS, _ORDERS = BrokerSecret.__table__.c, Order.__table__.c


@dataclass(frozen=True)
class Recipient:
    """The user that an alert is for."""

    id: int
    username: str


@dataclass(frozen=True)
class NamedStrategy:
    """The enabled strategy that an alert names."""

    id: int
    execution_mode: str
    execution_target: str


@dataclass(frozen=True)
class Duplicate:
    """The rows that an earlier copy of the delivery left."""

    order_id: int
    alert_id: int | None
    created_at: datetime


@dataclass(frozen=True)
class StoredWebhookSettings:
    """The rows of `broker_secrets` that belong to the webhook, still encrypted, by owner."""

    secrets: dict[int | None, str]
    configs: dict[int | None, str]

    def secret_is_valid(self, settings: Settings, given: str) -> bool:
        """Whether the given secret is the one in force; an undecodable stored secret matches nothing."""
        encrypted = self.secrets.get(None)
        try:
            expected = decrypt_token(settings, encrypted) if encrypted is not None else None
        except (ValueError, RuntimeError):
            return False
        if not (expected or "").strip():
            expected = settings.tradingview_webhook_secret
        expected = (expected or "").strip()
        return not expected or same_text(expected, given.strip())

    def config_for(self, settings: Settings, user_id: int) -> TradingViewWebhookConfig | None:
        """The user's stored routing, else the global one, else None."""
        encrypted = self.configs.get(user_id, self.configs.get(None))
        return None if encrypted is None else decode_webhook_config(settings, encrypted)


@dataclass(frozen=True)
class Found:
    """Everything that is stored about a delivery."""

    webhook: StoredWebhookSettings
    user: Recipient | None
    strategy: NamedStrategy | None
    earlier: Duplicate | None


@dataclass(frozen=True)
class Asked:
    """What to look for. None: nothing of the kind; `default_user` asks for the one that takes other alerts."""

    username: str | None = None
    default_user: bool = False
    strategy: str | None = None
    key: str | None = None


def look_up(db: Session, settings: Settings, asked: Asked) -> Found:
    """Read the webhook's settings and what the delivery names; of duplicate settings the oldest counts."""
    values: dict[str, Any] = {"strategy": asked.strategy, "key": asked.key}
    if asked.default_user:
        query = _FOR_DEFAULT_USER
        values["default_user"] = default_user_name(settings)
    else:
        query = _FOR_NAMED_USER
        values["username"] = asked.username
    rows = db.execute(query, values).all()
    return Found(
        webhook=_settings_in(rows),
        user=_part(Recipient, rows[0][:2]),
        strategy=_part(NamedStrategy, rows[0][2:5]),
        earlier=_part(Duplicate, rows[0][5:8]),
    )


def find_earlier(db: Session, key: str) -> Duplicate | None:
    """The order that has the key, whoever stored it meanwhile."""
    row = db.execute(_EARLIER, {"key": key}).first()
    return None if row is None else Duplicate(*row)


def _part(kind: Any, values: Any) -> Any:
    return None if values[0] is None else kind(*values)


def _settings_in(rows: Any) -> StoredWebhookSettings:
    found = StoredWebhookSettings({}, {})
    for row in rows:
        key, owner, value = row[8:]
        if key is not None:
            rows_of_key = found.secrets if key == TRADINGVIEW_WEBHOOK_SECRET_KEY else found.configs
            rows_of_key.setdefault(owner, value)
    return found


def _statement(is_user: ColumnElement[bool]) -> Select[Any]:
    """One row per stored setting, and one without any; the other columns are equal in all."""
    delivery = select(literal(1).label("one")).subquery("delivery")
    setting = and_(
        _SECRETS.broker_name == WEBHOOK_BROKER_NAME,
        _SECRETS.key.in_((TRADINGVIEW_WEBHOOK_SECRET_KEY, TRADINGVIEW_WEBHOOK_CONFIG_KEY)),
        or_(_SECRETS.user_id.is_(None), _SECRETS.user_id == _USERS.id),
    )
    strategy = and_(_STRATEGIES.name == bindparam("strategy"), _STRATEGIES.enabled.is_(True))
    return (
        select(
            _USERS.id, _USERS.username,
            _STRATEGIES.id, _STRATEGIES.execution_mode, _STRATEGIES.execution_target,
            _ORDERS.id, _ORDERS.alert_id, _ORDERS.created_at,
            _SECRETS.key, _SECRETS.user_id, _SECRETS.value_encrypted,
        )
        .select_from(delivery)
        .outerjoin(User.__table__, is_user)
        .outerjoin(Strategy.__table__, strategy)
        .outerjoin(Order.__table__, _ORDERS.client_order_id == bindparam("key"))
        .outerjoin(BrokerSecret.__table__, setting)
        .order_by(_SECRETS.id)
    )  # fmt: skip


_FIRST = select(_USERS.id).order_by(default_user_rank(bindparam("default_user")), _USERS.id).limit(1)
_FOR_NAMED_USER: Final = _statement(_USERS.username == bindparam("username"))
_FOR_DEFAULT_USER: Final = _statement(_USERS.id == _FIRST.scalar_subquery())
_EARLIER: Final = select(_ORDERS.id, _ORDERS.alert_id, _ORDERS.created_at).where(
    _ORDERS.client_order_id == bindparam("key")
)
