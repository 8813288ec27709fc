"""Where TradingView delivers its alerts.

A delivery takes no thread, passes no middleware and walks through no routes: `Door` stands in front of the
application. It parses and checks the body on the event loop; then the process's writer stores the delivery
together with all others that wait. The routes below are what the document shows, and answer the unusual.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.webhook_document import ANSWERS, DELIVERIES
from app.core.config import Settings, get_settings
from app.core.errors import RETRY_AFTER_S, Busy
from app.core.logging import (
    CORRELATION_ID,
    REQUEST_LOGGER,
    correlation_id_in,
    correlation_id_of,
    log_answer,
)
from app.core.market_hours import is_market_open_now
from app.core.request_guard import ARRIVED, ClientGone, Replay, read_body, refusal
from app.core.sessions import AppSettings, Db
from app.db.session import get_db
from app.schemas.webhook import TradingViewWebhookPayload
from app.services.orders import create_order_from_alert
from app.services.webhook.door.pulse import Pulse
from app.services.webhook.door.waiting import Answer, Call, Waiting
from app.services.webhook.door.writer import WRITER
from app.services.webhook.receive import Arrival, Ended, receive, receive_object

WebhookBody = Annotated[
    TradingViewWebhookPayload | dict[str, Any] | str,
    Field(union_mode="left_to_right"),
    Body(openapi_examples=DELIVERIES),
]
_PATHS: Final = frozenset({"/webhook", "/webhook/tradingview"})
_UTF8: Final = ("", "; charset=utf-8", ";charset=utf-8")
_JSON: Final = frozenset(f"application/json{charset}" for charset in _UTF8)
_TEXT: Final = frozenset(f"text/plain{charset}" for charset in _UTF8)
_ERROR: Final = "webhook_error"
_RETRY: Final = (b"retry-after", RETRY_AFTER_S.encode())


class _Unusual(APIRoute):
    """The route of deliveries that `Door` does not take: FastAPI reads their body, and answers what is no delivery.

    It also raises what ended a delivery at the door, so that every error is answered in one place.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        unusual = super().get_route_handler()

        async def handle(request: Request) -> Response:
            error = request.scope.get("state", {}).pop(_ERROR, None)
            if error is not None:
                raise error
            return await unusual(request)

        return handle


router = APIRouter(prefix="/webhook", tags=["webhook"], route_class=_Unusual)


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
    arrival = Arrival(
        content_type=request.headers.get("content-type", ""),
        header_secret=request.headers.get("x-sigmatrader-secret", ""),
        correlation_id=correlation_id_of(request),
    )
    answer = await _answer(payload, arrival, _call(lambda: db, settings), time.monotonic())
    return JSONResponse(answer.body, answer.status)


class Door:
    """Takes deliveries before any middleware and any route: a burst leaves no time for either.

    The usual bodies are a JSON object and a text. Every other request, and every error, goes on to the
    application, which answers it as it answers any request.

    Args:
        app: the application; its overrides of dependencies count here too.
    """

    def __init__(self, app: FastAPI, go_on: ASGIApp) -> None:
        self._app = app
        self._go_on = go_on
        self._logger = logging.getLogger(REQUEST_LOGGER)
        self._pulse = Pulse()

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Whether the request is a delivery."""
        return scope["type"] == "http" and scope["path"] in _PATHS and scope["method"] == "POST"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        now = time.monotonic()
        arrived: float = scope.get("state", {}).get(ARRIVED) or now - self._pulse.lateness_s()
        headers = dict(reversed(scope["headers"]))  # of equal names the first counts
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        kind = content_type.lower()
        if kind not in _JSON and kind not in _TEXT:
            await self._go_on(scope, receive, send)
            return
        overrides = self._app.dependency_overrides
        settings: Settings = overrides.get(get_settings, get_settings)()
        content = b""
        try:
            WRITER.line.check(settings.webhook_queue, settings.webhook_max_wait_ms / 1000, now - arrived)
            content = await read_body(scope, receive, settings.webhook_body_timeout_ms / 1000)
            body = None if refusal(scope, content) else _usual_body(content, is_json=kind in _JSON)
            if body is None:
                await self._go_on(scope, Replay(content, receive), send)
                return
            correlation_id = correlation_id_in(scope)
            scope.setdefault("state", {})[CORRELATION_ID] = correlation_id
            secret = headers.get(b"x-sigmatrader-secret", b"").decode("latin-1")
            call = _call(overrides.get(get_db, get_db), settings)
            answer = await _answer(body, Arrival(content_type, secret, correlation_id), call, arrived)
        except ClientGone:
            return
        except Busy as busy:
            await _send(Answer(503, {"detail": str(busy)}), send, _RETRY)
            return
        except Exception as error:
            scope.setdefault("state", {})[_ERROR] = error
            await self._go_on(scope, Replay(content, receive), send)
            return
        await _send(answer, send)
        if self._logger.isEnabledFor(logging.DEBUG):
            log_answer(self._logger, logging.DEBUG, scope, correlation_id, answer.status, arrived)


def _usual_body(content: bytes, *, is_json: bool) -> dict[str, Any] | str | None:
    """The object or the text; None for anything else."""
    try:
        if not is_json:
            return content.decode() or None
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _call(sessions: Callable[[], Any], settings: Settings) -> Call:
    # Both functions are looked up here at each call: code written against the application replaces them.
    return Call(sessions, settings, create_order_from_alert, is_market_open_now)


async def _answer(
    body: TradingViewWebhookPayload | dict[str, Any] | str, arrival: Arrival, call: Call, arrived: float
) -> Answer:
    """Check a delivery and put it in line; its answer. Raises `Busy`, or what the database raises."""
    received = receive_object(body, arrival) if isinstance(body, dict) else receive(body, arrival)
    if isinstance(received, Ended) and received.event is None:
        return Answer(received.status, {"detail": received.answer})
    loop = asyncio.get_running_loop()
    deadline = arrived + call.settings.webhook_max_wait_ms / 1000
    waiting = Waiting(received, arrival, call, arrived, deadline, loop, loop.create_future())
    WRITER.join(waiting)
    return await waiting.answer()


async def _send(answer: Answer, send: Send, *more: tuple[bytes, bytes]) -> None:
    content = json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")).encode()
    headers = [(b"content-length", str(len(content)).encode()), (b"content-type", b"application/json"), *more]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
