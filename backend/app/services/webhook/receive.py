"""The first stage of a delivery: what its text says, before anything that is stored is known.

`receive` gives a `Delivery`, or an `Ended` for a text that is no delivery. No database is needed. The schema
is tried before the secret is known to be right, because the rows that the payload names are looked up
together with the secret. The later stages find the refusals here too: they quote what the sender sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from app.schemas.webhook import TradingViewWebhookPayload
from app.schemas.webhook_shapes import PAYLOAD_FORMAT_V1, normalise_payload
from app.services.shared.bulk import Row
from app.services.shared.system_events import event_row
from app.services.webhook.body import InvalidBody, RefusedBody, body_preview, parse_text_body
from app.services.webhook.lookup import Asked
from app.services.webhook.normalize import (
    content_key,
    order_id_keys,
    position_symbol,
)

Body = TradingViewWebhookPayload | dict[str, Any]

INVALID_BODY: Final = "Invalid TradingView payload. Body must be valid JSON."
INVALID_SCHEMA: Final = "Invalid TradingView payload. Missing required fields or invalid schema."
INVALID_SIDE: Final = "Invalid TradingView payload: signal.side must be BUY or SELL."
PLACEHOLDER_SIDE: Final = (
    "Invalid TradingView payload: signal.side must resolve to BUY or SELL. Your alert is sending a "
    "placeholder token (e.g. {{strategy.order.action}}) that is not being expanded by TradingView. "
    "Use a Strategy 'Order fills' alert or set signal.side to BUY/SELL."
)
MAX_SYMBOL_CHARS: Final = 512
TOO_LONG: Final = (
    f"Invalid TradingView payload: symbol must not be longer than {MAX_SYMBOL_CHARS} characters."
)
SUPPORTED_PLATFORMS: Final = frozenset({"", "zerodha", "tradingview"})


@dataclass(frozen=True)
class Arrival:
    """What is known of a request besides its body."""

    content_type: str
    header_secret: str
    correlation_id: str | None


@dataclass(frozen=True)
class Event:
    """An event to store about a delivery."""

    level: str
    category: str
    message: str
    details: dict[str, Any]

    def row(self, correlation_id: str | None) -> Row:
        """The event's row; the correlation id is that of the delivery that it tells of."""
        return event_row(self.level, self.category, self.message, correlation_id, self.details)


@dataclass(frozen=True)
class Ended:
    """The end of a delivery that leads to no order: HTTP status, its answer, and the event about it.

    The answer of a refusal (status 400 and above) is its detail text, any other answer a JSON object.
    """

    status: int
    answer: str | dict[str, Any]
    event: Event | None = None


@dataclass(frozen=True)
class Misfit:
    """An object that does not fit the schema, with the members that normalising has added, and why."""

    body: dict[str, Any]
    errors: list[dict[str, Any]]


@dataclass(frozen=True)
class Delivery:
    """What a sender delivered, and what has to be looked up before anything can be decided."""

    arrival: Arrival
    body: Body
    secret: str
    alert: TradingViewWebhookPayload | Misfit
    asked: Asked
    text: str | None = None  # the alert as compact JSON, secret included; None for a misfit


def receive(body: Body | str, arrival: Arrival) -> Delivery | Ended:
    """Read a body of any accepted form; a text that is neither JSON nor pairs ends the delivery."""
    if isinstance(body, str):
        text = body.strip()
        try:
            body = parse_text_body(text)
        except RefusedBody as refused:
            return Ended(400, str(refused))
        except InvalidBody:
            return Ended(400, INVALID_BODY, _unreadable(text, arrival))
    secret = _secret_of(body, arrival)
    alert = _try_payload(body, secret)
    return _delivery(arrival, body, secret, alert)


def receive_object(body: dict[str, Any], arrival: Arrival) -> Delivery:
    """Read a body that was sent as JSON and is an object; it is changed in place, and checked once.

    An object that has a secret and fits the schema is the payload itself. Any other stays an object, in which
    the secret of the header may be missing.
    """
    if "secret" not in body:
        normalise_payload(body)
    if "secret" not in body:
        secret = _secret_of(body, arrival)
        return _delivery(arrival, body, secret, _try_payload(body, secret))
    try:
        payload = TradingViewWebhookPayload.model_validate(body)
    except ValidationError as invalid:
        misfit = _misfit(dict(body), invalid)
        return _delivery(arrival, body, _secret_of(body, arrival), misfit)
    return _delivery(arrival, payload, _secret_of(payload, arrival), payload)


def wrong_secret(delivery: Delivery) -> Ended:
    """The refusal of a delivery whose secret is not the one in force."""
    body = delivery.body
    if isinstance(body, dict):
        platform, user = body.get("platform"), body.get("st_user_id")
        found = body.get("signal")
        signal = found if isinstance(found, dict) else {}
        names = (signal.get("strategy_id"), signal.get("strategy_name"), body.get("strategy_name"))
        strategy = next((name for name in names if name), None)
    else:
        platform, user, strategy = body.platform, body.st_user_id, body.strategy_id or body.strategy_name
    in_header, in_body = bool(delivery.arrival.header_secret), bool(_body_secret(body))
    auth = {"header_present": in_header, "body_present": in_body}
    details = {"platform": platform, "strategy": strategy, "st_user_id": user, "auth": auth}
    event = _warning("TradingView webhook rejected: invalid secret", details)
    return Ended(401, "Invalid webhook secret.", event)


def unfit(misfit: Misfit, arrival: Arrival) -> Ended:
    """The refusal of an object that does not fit the schema."""
    details = {
        "content_type": arrival.content_type,
        "payload_keys": sorted(misfit.body),
        "validation_errors": misfit.errors,
    }
    event = _warning("TradingView webhook rejected: invalid payload schema", details)
    return Ended(400, _schema_detail(misfit.body, misfit.errors), event)


def symbol_is_too_long(alert: TradingViewWebhookPayload) -> bool:
    """Whether the symbol is longer than an index of either database can hold in any alphabet."""
    return len(alert.symbol) > MAX_SYMBOL_CHARS


def too_long(alert: TradingViewWebhookPayload, arrival: Arrival) -> Ended:
    """The refusal of an alert whose symbol is too long."""
    details = {"content_type": arrival.content_type, "symbol_len": len(alert.symbol)}
    event = _warning("TradingView webhook rejected: symbol too long", details)
    return Ended(422, TOO_LONG, event)


def is_test_message(body: Body) -> bool:
    """Whether the sender only tests the connection."""
    return isinstance(body, dict) and body.get("test") == "tradingview"


def platform_is_supported(payload: TradingViewWebhookPayload) -> bool:
    """Whether alerts of the payload's platform are handled here."""
    return payload.platform.lower() in SUPPORTED_PLATFORMS


def username_in(alert: TradingViewWebhookPayload) -> str:
    """The name of the user that the alert is addressed to; empty when it names nobody."""
    return (alert.st_user_id or "").strip()


def goes_to_default(alert: TradingViewWebhookPayload) -> bool:
    """Whether the default user takes the alert."""
    return not username_in(alert) and alert.payload_format == PAYLOAD_FORMAT_V1


def _delivery(
    arrival: Arrival, body: Body, secret: str, alert: TradingViewWebhookPayload | Misfit
) -> Delivery:
    """The delivery with what its alert names, as far as that is known before its user is."""
    if isinstance(alert, Misfit):
        return Delivery(arrival, body, secret, alert, Asked())
    text = alert.model_dump_json()
    key, older_key = order_id_keys(alert)
    username = username_in(alert)
    asked = Asked(
        username=username or None,
        default_user=goes_to_default(alert),
        strategy=alert.strategy_key,
        key=content_key(alert, text) if key is None and username else key,
        older_key=older_key,
        sold=position_symbol(alert) if alert.trade_details.order_action == "SELL" else None,
    )
    return Delivery(arrival, body, secret, alert, asked, text)


def _secret_of(body: Body, arrival: Arrival) -> str:
    return arrival.header_secret.strip() if arrival.header_secret else _body_secret(body).strip()


def _try_payload(body: Body, secret: str) -> TradingViewWebhookPayload | Misfit:
    """The body as payload, the given secret filled in; the body itself is not changed."""
    if not isinstance(body, dict):
        return body
    filled = dict(body)
    if secret:
        filled.setdefault("secret", secret)
    try:
        return TradingViewWebhookPayload.model_validate(filled)
    except ValidationError as invalid:
        return _misfit(filled, invalid)


def _misfit(body: dict[str, Any], invalid: ValidationError) -> Misfit:
    return Misfit(body, [{"loc": e["loc"], "msg": e["msg"], "type": e["type"]} for e in invalid.errors()])


def _body_secret(body: Body) -> str:
    if not isinstance(body, dict):
        return body.secret
    secret = body.get("secret")
    if not secret and isinstance(body.get("meta"), dict):
        secret = body["meta"].get("secret")
    return secret if isinstance(secret, str) else ""


def _schema_detail(body: dict[str, Any], errors: list[dict[str, Any]]) -> str:
    side_failed = any(
        tuple(error["loc"]) == ("trade_details", "order_action") and error["type"] == "value_error"
        for error in errors
    )
    if not side_failed:
        return INVALID_SCHEMA
    signal = body.get("signal")
    side = signal.get("side") if isinstance(signal, dict) else None
    return PLACEHOLDER_SIDE if isinstance(side, str) and side.strip().startswith("{{") else INVALID_SIDE


def _unreadable(text: str, arrival: Arrival) -> Event:
    details = {
        "content_type": arrival.content_type,
        "body_len": len(text),
        "body_preview": body_preview(text),
    }
    return _warning("TradingView webhook rejected: invalid JSON body", details)


def _warning(message: str, details: dict[str, Any]) -> Event:
    return Event("WARNING", "webhook", message, details)
