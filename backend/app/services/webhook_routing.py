"""What the stored rows say about a delivery: secret in force, user, strategy, routing.

Two statements read everything: one for the webhook's stored settings, one for the user together with
the strategy that the alert names.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from app.config_files import supported_brokers
from app.core.config import Settings
from app.core.crypto import decrypt_token
from app.core.security import same_text
from app.models import BrokerSecret, Strategy, User
from app.services.orders import DEFAULT_BROKER
from app.services.tradingview_webhook_config import (
    TRADINGVIEW_WEBHOOK_CONFIG_KEY,
    TradingViewWebhookConfig,
    decode_webhook_config,
)
from app.services.users import default_user_rank
from app.services.webhook_secrets import TRADINGVIEW_WEBHOOK_SECRET_KEY, WEBHOOK_BROKER_NAME


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
        if expected is None:
            expected = settings.tradingview_webhook_secret
        expected = (expected or "").strip()
        return not expected or same_text(expected, given.strip())

    def config_for(self, settings: Settings, user_id: int) -> TradingViewWebhookConfig | None:
        """The user's stored routing, else the global one, else None."""
        encrypted = self.configs.get(user_id, self.configs.get(None))
        return None if encrypted is None else decode_webhook_config(settings, encrypted)


@dataclass(frozen=True)
class Routing:
    """How the order of one delivery is to be made. `from_strategy` tells who decided mode and target."""

    mode: str
    broker_name: str
    execution_target: str
    default_product: str
    fallback_to_waiting: bool
    strategy_id: int | None
    from_strategy: bool


def load_webhook_settings(db: Session) -> StoredWebhookSettings:
    """Read the webhook's stored settings of all owners; of duplicates the oldest counts."""
    query = select(BrokerSecret.key, BrokerSecret.user_id, BrokerSecret.value_encrypted).where(
        BrokerSecret.broker_name == WEBHOOK_BROKER_NAME,
        BrokerSecret.key.in_((TRADINGVIEW_WEBHOOK_SECRET_KEY, TRADINGVIEW_WEBHOOK_CONFIG_KEY)),
    )
    found = StoredWebhookSettings({}, {})
    for key, user_id, value in db.execute(query.order_by(BrokerSecret.id)):
        rows = found.secrets if key == TRADINGVIEW_WEBHOOK_SECRET_KEY else found.configs
        rows.setdefault(user_id, value)
    return found


def find_user_and_strategy(
    db: Session, settings: Settings, *, username: str | None, strategy_key: str
) -> tuple[User | None, Strategy | None]:
    """The named user (None: the default one) and, if it is enabled, the strategy of exactly that name."""
    strategy = and_(Strategy.name == strategy_key, Strategy.enabled.is_(True))
    query = select(User, Strategy).outerjoin(Strategy, strategy)
    if username is None:
        query = query.order_by(default_user_rank(settings), User.id).limit(1)
    else:
        query = query.where(User.username == username)
    row = db.execute(query).first()
    return (row[0], row[1]) if row is not None else (None, None)


def route(config: TradingViewWebhookConfig | None, strategy: Strategy | None) -> Routing:
    """A stored config decides alone; without one an enabled strategy decides mode and target."""
    effective = config or TradingViewWebhookConfig()
    broker = effective.broker_name if effective.broker_name in supported_brokers() else DEFAULT_BROKER
    by_strategy = strategy if config is None else None
    return Routing(
        mode=by_strategy.execution_mode if by_strategy else effective.mode,
        broker_name=broker,
        execution_target=by_strategy.execution_target if by_strategy else effective.execution_target,
        default_product=effective.default_product,
        fallback_to_waiting=effective.fallback_to_waiting_on_error,
        strategy_id=by_strategy.id if by_strategy else None,
        from_strategy=by_strategy is not None,
    )
