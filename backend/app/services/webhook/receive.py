"""The checks a delivery passes before anything is stored, in their fixed order, and their refusals.

body form -> secret -> test message -> schema -> platform -> user. Every refusal that leaves an event
commits it on its own, since nothing else of the delivery will be stored. The schema is tried before the
secret is known to be right, because what the payload names is read together with the secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fastapi import HTTPException
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.schemas.webhook import TradingViewWebhookPayload
from app.services.shared.system_events import record_system_event
from app.services.webhook.body import InvalidBody, RefusedBody, body_preview, parse_text_body

Body = TradingViewWebhookPayload | dict[str, Any]

INVALID_BODY: Final = "Invalid TradingView payload. Body must be valid JSON."
INVALID_SCHEMA: Final = "Invalid TradingView payload. Missing required fields or invalid schema."
INVALID_SIDE: Final = "Invalid TradingView payload: signal.side must be BUY or SELL."
PLACEHOLDER_SIDE: Final = (
    "Invalid TradingView payload: signal.side must resolve to BUY or SELL. Your alert is sending a "
    "placeholder token (e.g. {{strategy.order.action}}) that is not being expanded by TradingView. "
    "Use a Strategy 'Order fills' alert or set signal.side to BUY/SELL."
)
SUPPORTED_PLATFORMS: Final = frozenset({"", "zerodha", "tradingview"})


@dataclass(frozen=True)
class Arrival:
    """What is known of a request besides its body."""

    content_type: str
    header_secret: str
    correlation_id: str | None


@dataclass(frozen=True)
class Misfit:
    """An object that does not fit the schema, with the members that normalising has added, and why."""

    body: dict[str, Any]
    errors: list[dict[str, Any]]


def read_body(db: Session, body: Body | str, arrival: Arrival) -> Body:
    """The body as payload or object; HTTPException 400 (and an event) for a text that is neither."""
    if not isinstance(body, str):
        return body
    try:
        return parse_text_body(body)
    except RefusedBody as refused:
        raise HTTPException(400, str(refused)) from None
    except InvalidBody:
        details = {
            "content_type": arrival.content_type,
            "body_len": len(body.strip()),
            "body_preview": body_preview(body.strip()),
        }
        _warn(db, arrival, "TradingView webhook rejected: invalid JSON body", details)
        raise HTTPException(400, INVALID_BODY) from None


def given_secret(body: Body, arrival: Arrival) -> str:
    """The secret that the sender gave: header first, then the body, then its meta member."""
    if arrival.header_secret:
        return arrival.header_secret.strip()
    return _body_secret(body).strip()


def refuse_secret(db: Session, body: Body, arrival: Arrival) -> HTTPException:
    """Store the event of a wrong secret and return the error to raise."""
    if isinstance(body, dict):
        platform, user = body.get("platform"), body.get("st_user_id")
        found = body.get("signal")
        signal = found if isinstance(found, dict) else {}
        names = (signal.get("strategy_id"), signal.get("strategy_name"), body.get("strategy_name"))
        strategy = next((name for name in names if name), None)
    else:
        platform, user, strategy = body.platform, body.st_user_id, body.strategy_id or body.strategy_name
    auth = {"header_present": bool(arrival.header_secret), "body_present": bool(_body_secret(body))}
    details = {"platform": platform, "strategy": strategy, "st_user_id": user, "auth": auth}
    _warn(db, arrival, "TradingView webhook rejected: invalid secret", details)
    return HTTPException(401, "Invalid webhook secret.")


def is_test_message(body: Body) -> bool:
    """Whether the sender only tests the connection."""
    return isinstance(body, dict) and body.get("test") == "tradingview"


def try_payload(body: Body, secret: str) -> TradingViewWebhookPayload | Misfit:
    """The body as payload, the given secret filled in; the body itself is not changed."""
    if not isinstance(body, dict):
        return body
    filled = dict(body)
    if secret:
        filled.setdefault("secret", secret)
    try:
        return TradingViewWebhookPayload.model_validate(filled)
    except ValidationError as invalid:
        errors = [{"loc": e["loc"], "msg": e["msg"], "type": e["type"]} for e in invalid.errors()]
        return Misfit(filled, errors)


def refuse_schema(db: Session, misfit: Misfit, arrival: Arrival) -> HTTPException:
    """Store the event of a body that does not fit the schema and return the error to raise."""
    details = {
        "content_type": arrival.content_type,
        "payload_keys": sorted(misfit.body),
        "validation_errors": misfit.errors,
    }
    _warn(db, arrival, "TradingView webhook rejected: invalid payload schema", details)
    return HTTPException(400, _schema_detail(misfit.body, misfit.errors))


def platform_is_supported(payload: TradingViewWebhookPayload) -> bool:
    """Whether alerts of the payload's platform are handled here."""
    return payload.platform.lower() in SUPPORTED_PLATFORMS


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


def _warn(db: Session, arrival: Arrival, message: str, details: dict[str, Any]) -> None:
    record_system_event(
        db,
        level="WARNING",
        category="webhook",
        message=message,
        correlation_id=arrival.correlation_id,
        details=details,
    )
