"""Where TradingView delivers its alerts.

A delivery takes no thread: its body is parsed and checked on the event loop, then the process's writer stores
it together with all others that wait.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import Field

from app.api.webhook_document import ANSWERS, DELIVERIES
from app.core.config import Settings, get_settings
from app.core.logging import correlation_id_of
from app.core.market_hours import is_market_open_now
from app.core.sessions import AppSettings, Db
from app.db.session import get_db
from app.schemas.webhook import TradingViewWebhookPayload
from app.services.orders import create_order_from_alert
from app.services.webhook.door.waiting import Call, Waiting
from app.services.webhook.door.writer import WRITER
from app.services.webhook.receive import Arrival, Delivery, Ended, receive, receive_object

WebhookBody = Annotated[
    TradingViewWebhookPayload | dict[str, Any] | str,
    Field(union_mode="left_to_right"),
    Body(openapi_examples=DELIVERIES),
]
_JSON: Final = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}
)
_TEXT: Final = frozenset({"text/plain", "text/plain; charset=utf-8", "text/plain;charset=utf-8"})


class _Door(APIRoute):
    """Reads the two bodies that deliveries have, a JSON object or a text; leaves all others to FastAPI.

    So the document and the answers to everything unusual are FastAPI's, and the usual way does without its
    dependencies, without a second look at the body and without a thread.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        unusual = super().get_route_handler()

        async def deliver(request: Request) -> Response:
            content_type = request.headers.get("content-type", "").lower()
            if content_type in _JSON or content_type in _TEXT:
                content = await request.body()
                body = _usual_body(content, is_json=content_type in _JSON)
                if body is not None:
                    overrides = request.app.dependency_overrides
                    settings = overrides.get(get_settings, get_settings)()
                    return await _deliver(body, request, overrides.get(get_db, get_db), settings)
            return await unusual(request)

        return deliver


def _usual_body(content: bytes, *, is_json: bool) -> dict[str, Any] | str | None:
    """The object or the text; None for anything else."""
    try:
        if not is_json:
            return content.decode() or None
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


router = APIRouter(prefix="/webhook", tags=["webhook"], route_class=_Door)


@router.get("")
def describe_webhook() -> dict[str, str]:
    """Where to send alerts to."""
    return {
        "message": "SigmaTrader webhook endpoint",
        "tradingview": "POST /webhook/tradingview",
        "compat": "POST /webhook",
    }


@router.post("/tradingview", status_code=201, responses=ANSWERS, response_model=None)
@router.post("", status_code=201, include_in_schema=False, response_model=None)
async def tradingview_webhook(
    payload: WebhookBody, request: Request, db: Db, settings: AppSettings
) -> Response:
    """Take an alert: store it with its order, once, and dispatch the order in AUTO mode."""
    return await _deliver(payload, request, lambda: db, settings)


async def _deliver(
    body: TradingViewWebhookPayload | dict[str, Any] | str,
    request: Request,
    sessions: Callable[[], Any],
    settings: Settings,
) -> Response:
    arrival = Arrival(
        content_type=request.headers.get("content-type", ""),
        header_secret=request.headers.get("x-sigmatrader-secret", ""),
        correlation_id=correlation_id_of(request),
    )
    received = receive_object(body, arrival) if isinstance(body, dict) else receive(body, arrival)
    if isinstance(received, Ended) and received.event is None:
        return JSONResponse({"detail": received.answer}, received.status)
    # Both functions are looked up here at each call: code written against the application replaces them.
    call = Call(sessions, settings, create_order_from_alert, is_market_open_now)
    answer = await _in_line(received, arrival, call).answer()
    return JSONResponse(answer.body, answer.status)


def _in_line(received: Delivery | Ended, arrival: Arrival, call: Call) -> Waiting:
    """Put the delivery in line; raises `Busy` when the line is too long."""
    max_wait_s = call.settings.webhook_max_wait_ms / 1000
    WRITER.line.check(call.settings.webhook_queue, max_wait_s)
    loop = asyncio.get_running_loop()
    arrived = time.monotonic()
    waiting = Waiting(received, arrival, call, arrived, arrived + max_wait_s, loop, loop.create_future())
    WRITER.join(waiting)
    return waiting
