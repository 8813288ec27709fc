"""How the order of a delivery is to be made: by the stored routing, else by the strategy that it names."""

from __future__ import annotations

from dataclasses import dataclass

from app.config_files import supported_brokers
from app.services.orders.rows import DEFAULT_BROKER
from app.services.webhook.lookup import NamedStrategy
from app.services.webhook.settings.routing import TradingViewWebhookConfig


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


def route(config: TradingViewWebhookConfig | None, strategy: NamedStrategy | None) -> Routing:
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
