"""The third stage of a delivery: what results from its text and from the stored rows.

Every function here makes values from values, and reads nothing else but configuration files. The checks
come in a fixed order: secret, test message, schema, platform, user. A delivery that passes them all becomes
a `Signal`, from which the rows of its alert, its order and its events follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from app.config_files import supported_brokers
from app.core.config import Settings
from app.schemas.webhook import TradingViewWebhookPayload
from app.schemas.webhook_shapes import PAYLOAD_FORMAT_V1
from app.services.orders.rows import DEFAULT_BROKER
from app.services.orders.sending.closing import CLOSING, closing_details
from app.services.positions.sell_qty import TradingViewSellQtyResolution
from app.services.webhook.lookup import Duplicate, Found, NamedStrategy, OlderOrder, Recipient
from app.services.webhook.normalize import (
    NormalizedAlert,
    client_order_id,
    copies_within,
    normalize_tradingview_payload_for_zerodha,
    order_id_key,
)
from app.services.webhook.receive import (
    Delivery,
    Ended,
    Event,
    Misfit,
    goes_to_default,
    is_test_message,
    platform_is_supported,
    symbol_is_too_long,
    too_long,
    unfit,
    username_in,
    wrong_secret,
)
from app.services.webhook.settings.routing import TradingViewWebhookConfig

SOURCE: Final = "TRADINGVIEW"
NOTHING_HELD: Final = "ST: SELL could not be matched to holdings/positions; created as WAITING for review."


@dataclass(frozen=True)
class Routing:
    """How the order of one signal is to be made. `from_strategy` tells who decided mode and target."""

    mode: str
    broker_name: str
    execution_target: str
    default_product: str
    fallback_to_waiting: bool
    strategy_id: int | None
    from_strategy: bool


@dataclass(frozen=True)
class Signal:
    """A delivery that a user takes, with everything that was derived from it."""

    user: Recipient
    payload: TradingViewWebhookPayload
    normalized: NormalizedAlert
    routing: Routing
    key: str
    correlation_id: str | None
    earlier: Duplicate | None = None  # the order that had the key when it was last asked for
    copies_within: timedelta | None = None  # how long an equal key means a copy; None: for ever
    by_default: bool = False  # the user took an alert that names nobody
    is_exit: bool = False
    review_note: str | None = None  # set: a person has to look at the order, whatever the mode

    @property
    def mode(self) -> str:
        """MANUAL or AUTO, as it applies to this signal."""
        return "MANUAL" if self.review_note else self.routing.mode

    def is_copy_at(self, now: datetime) -> bool:
        """Whether the earlier order was made by the same signal; it was not if it lies too far back.

        Nor if it lies too far ahead: the clock was set back meanwhile, and would make copies of all that comes.
        """
        if self.earlier is None or self.copies_within is None:
            return self.earlier is not None
        return abs(now - self.earlier.created_at) < self.copies_within


def decide(settings: Settings, delivery: Delivery, found: Found) -> Signal | Ended:
    """The signal of a delivery, or how the delivery ends without one."""
    alert = delivery.alert
    if not found.webhook.secret_is_valid(settings, delivery.secret):
        return wrong_secret(delivery)
    if is_test_message(delivery.body):
        return Ended(201, {"status": "ok"})
    if isinstance(alert, Misfit):
        return unfit(alert, delivery.arrival)
    if symbol_is_too_long(alert):
        return too_long(alert, delivery.arrival)
    if not platform_is_supported(alert):
        return Ended(201, {"status": "ignored", "platform": alert.platform})
    if found.user is None:
        return _ignored(alert)
    return _signal(settings, delivery, alert, found, found.user)


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


def with_held(signal: Signal, held: TradingViewSellQtyResolution) -> Signal:
    """A SELL with quantity and product of what is held; with nothing held, a person has to look at it."""
    alert = signal.normalized
    if held.reject:
        review_note = (
            "TV SELL needs review: SigmaTrader could not find holdings/positions for this symbol "
            f"({held.note}). Edit qty/product or execute intentionally."
        )
        noted = replace(alert, reason=_joined(alert.reason, NOTHING_HELD))
        return replace(signal, normalized=noted, review_note=review_note)
    if not held.is_exit:
        return signal
    note = f"ST: SELL qty resolved from {held.source} ({float(held.qty)})."
    reason = _joined(alert.reason, note)
    resolved = replace(alert, qty=held.qty, product=held.resolved_product, reason=reason)
    return replace(signal, normalized=resolved, is_exit=True)


def alert_values(signal: Signal) -> dict[str, Any]:
    """The members of the alert row."""
    normalized = signal.normalized
    return {
        "user_id": normalized.user_id,
        "strategy_id": signal.routing.strategy_id,
        "symbol": normalized.symbol_display,
        "exchange": normalized.broker_exchange,
        "interval": normalized.timeframe,
        "action": normalized.side,
        "qty": normalized.qty,
        "price": normalized.price,
        "platform": signal.payload.platform,
        "source": SOURCE,
        "raw_payload": normalized.raw_payload,
        "reason": normalized.reason,
        "bar_time": normalized.bar_time,
    }


def order_values(signal: Signal) -> dict[str, Any]:
    """What the order row has beyond the alert's values: keyword arguments of `create_order_from_alert`."""
    normalized, routing = signal.normalized, signal.routing
    return {
        "mode": signal.mode,
        "product": normalized.product,
        "order_type": normalized.order_type,
        "broker_name": routing.broker_name,
        "execution_target": routing.execution_target,
        "user_id": normalized.user_id,
        "client_order_id": signal.key,
        "is_exit": signal.is_exit,
    }


def default_user_event(signal: Signal) -> Event | None:
    """The event of an alert that names nobody and was taken by the default user."""
    if not signal.by_default:
        return None
    payload = signal.payload
    details = {
        "strategy_id": payload.strategy_id,
        "strategy_name": payload.strategy_name,
        "platform": payload.platform,
        "default_user": signal.user.username,
    }
    return _info("Alert routed to default user (missing st_user_id)", details)


def copy_event(signal: Signal, found: Duplicate) -> Event:
    """The event of a copy of an earlier delivery."""
    details = {
        "client_order_id": signal.key,
        "existing_order_id": found.order_id,
        "existing_alert_id": found.alert_id,
    }
    return _info("TradingView webhook deduped (client_order_id already exists)", details)


def closing_event(signal: Signal, alert_id: int, order_id: int) -> Event:
    """The event that ends a signal whose order was made."""
    details = closing_details(
        alert_id=alert_id,
        order_id=order_id,
        symbol=signal.normalized.symbol_display,
        action=signal.normalized.side,
        strategy=signal.payload.strategy_key,
        mode=signal.mode,
    )
    message, _level, _category = CLOSING
    return _info(message, details)


def _signal(
    settings: Settings, delivery: Delivery, alert: TradingViewWebhookPayload, found: Found, user: Recipient
) -> Signal:
    """A default user's name becomes part of the payload, and so of the key that is made of its content."""
    by_default = goes_to_default(alert)
    text = delivery.text
    if by_default:
        alert = alert.model_copy(update={"st_user_id": user.username})
        text = alert.model_dump_json()
    routing = route(found.webhook.config_for(settings, user.id), found.strategy)
    return Signal(
        user=user,
        payload=alert,
        normalized=normalize_tradingview_payload_for_zerodha(
            alert, user, default_product=routing.default_product, text=text
        ),
        routing=routing,
        key=delivery.asked.key or client_order_id(alert, text),
        correlation_id=delivery.arrival.correlation_id,
        earlier=found.earlier or _stored_by_an_earlier_release(alert, found.older),
        copies_within=copies_within(alert, settings),
        by_default=by_default,
    )


def _stored_by_an_earlier_release(
    alert: TradingViewWebhookPayload, older: OlderOrder | None
) -> Duplicate | None:
    """The order that has the signal's key of earlier releases, if its alert names the same signal."""
    if older is None:
        return None
    try:
        stored = TradingViewWebhookPayload.model_validate_json(older.raw_payload)
    except ValidationError:
        return older.duplicate  # nothing tells them apart, as in those releases
    return older.duplicate if order_id_key(stored) == order_id_key(alert) else None


def _ignored(alert: TradingViewWebhookPayload) -> Ended:
    """The end of an alert that no user takes."""
    username = username_in(alert)
    details: dict[str, Any] = {"strategy": alert.strategy_key, "platform": alert.platform}
    answer: dict[str, Any] = {"status": "ignored"}
    if username or alert.payload_format == PAYLOAD_FORMAT_V1:
        level, reason = "WARNING", "unknown_st_user_id"
        details["st_user_id"] = answer["st_user_id"] = username
    else:
        level, reason = "INFO", "missing_st_user_id"
    event = Event(level, "alert", f"Alert ignored: {reason.replace('_', ' ', 1)}", details)
    return Ended(201, {**answer, "reason": reason}, event)


def _joined(reason: str | None, note: str) -> str:
    return f"{reason} | {note}" if reason else note


def _info(message: str, details: dict[str, Any]) -> Event:
    return Event("INFO", "alert", message, details)
