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
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
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
from app.core.request_guard import ARRIVED, ClientGone, Replay, read_body, refusal, text_refusal
from app.core.sessions import AppSettings, Db
from app.db.session import get_db
from app.schemas.webhook import TradingViewWebhookPayload
from app.services.orders import create_order_from_alert
from app.services.webhook.door.parcel import Parcel
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
_UTF8: Final = (b"", b"; charset=utf-8", b";charset=utf-8")
_JSON: Final = frozenset(b"application/json" + charset for charset in _UTF8)
_TEXT: Final = frozenset(b"text/plain" + charset for charset in _UTF8)
ERROR: Final = "webhook_error"  # in a request's state: what ended its delivery at the door
_RETRY: Final = (b"retry-after", RETRY_AFTER_S.encode())
_as_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
Unusual = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer on the wire: status, headers, content."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


class _Unusual(APIRoute):
    """The route of deliveries that `Door` does not take: FastAPI reads their body, and answers what is no delivery.

    It also raises what ended a delivery at the door, so that every error is answered in one place.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        unusual = super().get_route_handler()

        async def handle(request: Request) -> Response:
            error = request.scope.get("state", {}).pop(ERROR, None)
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
    begun = _begin(payload, arrival, _call(lambda: db, settings), time.monotonic())
    answer = begun if isinstance(begun, Answer) else await begun.answer()
    return JSONResponse(answer.body, answer.status)


class Door:
    """Takes deliveries before any middleware and any route: a burst leaves no time for either.

    It takes them as a request of any ASGI server, or from a listener of this application as bytes in one piece.

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
        state = scope.setdefault("state", {})
        headers = dict(reversed(scope["headers"]))  # of equal names the first counts
        kind = _kind(headers)
        if ERROR in state or kind is None:
            await self._go_on(scope, receive, send)
            return
        now = time.monotonic()
        arrived: float = state.get(ARRIVED) or now - self._pulse.lateness_s()
        settings = self._settings()
        content = b""
        try:
            WRITER.line.check(settings.webhook_queue, settings.webhook_max_wait_ms / 1000, now - arrived)
            content = await read_body(scope, receive, settings.webhook_body_timeout_ms / 1000)
            body = None if refusal(scope, content) else _usual_body(content, kind)
            if body is None:
                await self._go_on(scope, Replay(content, receive), send)
                return
            state[CORRELATION_ID] = correlation_id_in(headers)
            begun = _begin(body, _arrival(headers, state), self._call(settings), arrived)
            answer = begun if isinstance(begun, Answer) else await begun.answer()
        except ClientGone:
            return
        except Busy as busy:
            await _send(_refused(busy), send)
            return
        except Exception as error:
            state[ERROR] = error
            await self._go_on(scope, Replay(content, receive), send)
            return
        await _send(_reply(answer), send)
        self._log(scope["path"], state, answer.status, arrived)

    def take(self, parcel: Parcel, arrived: float, tell: Callable[[Reply], None], unusual: Unusual) -> None:
        """Take a delivery that came in one piece, for which there is room; on the event loop.

        Args:
            arrived: when it came, as `time.monotonic` tells it.
            tell: gets the answer, at once or later.
            unusual: called instead of `tell` when the application has to answer, with what its scope's state must hold.
        """
        kind = _kind(parcel.headers)
        body = None
        if kind is not None and text_refusal(parcel.content) is None:
            body = _usual_body(parcel.content, kind)
        if body is None:
            unusual({})
            return
        state: dict[str, Any] = {CORRELATION_ID: correlation_id_in(parcel.headers)}
        try:
            begun = _begin(body, _arrival(parcel.headers, state), self._call(self._settings()), arrived)
        except Exception as error:
            unusual(state | {ERROR: error})
            return

        def told(future: asyncio.Future[Answer]) -> None:
            error = future.exception()
            if error is None:
                answer = future.result()
                tell(_reply(answer))
                self._log(parcel.path, state, answer.status, arrived)
            elif isinstance(error, Busy):
                tell(_refused(error))
            else:
                unusual(state | {ERROR: error})

        if isinstance(begun, Answer):
            tell(_reply(begun))
            self._log(parcel.path, state, begun.status, arrived)
        else:
            begun.watch()
            begun.future.add_done_callback(told)

    def _settings(self) -> Settings:
        settings: Settings = self._app.dependency_overrides.get(get_settings, get_settings)()
        return settings

    def _call(self, settings: Settings) -> Call:
        return _call(self._app.dependency_overrides.get(get_db, get_db), settings)

    def _log(self, path: str, state: dict[str, Any], status: int, arrived: float) -> None:
        if self._logger.isEnabledFor(logging.DEBUG):
            scope = {"method": "POST", "path": path}
            log_answer(self._logger, logging.DEBUG, scope, state[CORRELATION_ID], status, arrived)


def _kind(headers: Mapping[bytes, bytes]) -> str | None:
    """What the body is by its content type: `json` or `text`; None for anything else."""
    kind = headers.get(b"content-type", b"").lower()
    return "json" if kind in _JSON else "text" if kind in _TEXT else None


def _arrival(headers: Mapping[bytes, bytes], state: Mapping[str, Any]) -> Arrival:
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    secret = headers.get(b"x-sigmatrader-secret", b"").decode("latin-1")
    return Arrival(content_type, secret, state[CORRELATION_ID])


def _usual_body(content: bytes, kind: str) -> dict[str, Any] | str | None:
    """The object or the text; None for anything else."""
    try:
        if kind == "text":
            return content.decode() or None
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _call(sessions: Callable[[], Any], settings: Settings) -> Call:
    # Both functions are looked up here at each call: code written against the application replaces them.
    return Call(sessions, settings, create_order_from_alert, is_market_open_now)


def _begin(
    body: TradingViewWebhookPayload | dict[str, Any] | str, arrival: Arrival, call: Call, arrived: float
) -> Answer | Waiting:
    """Check a delivery and put it in line, or answer it at once; on the event loop."""
    received = receive_object(body, arrival) if isinstance(body, dict) else receive(body, arrival)
    if isinstance(received, Ended) and received.event is None:
        return Answer(received.status, {"detail": received.answer})
    loop = asyncio.get_running_loop()
    deadline = arrived + call.settings.webhook_max_wait_ms / 1000
    waiting = Waiting(received, arrival, call, arrived, deadline, loop, loop.create_future())
    WRITER.join(waiting)
    return waiting


def _reply(answer: Answer, *more: tuple[bytes, bytes]) -> Reply:
    content = _as_json(answer.body).encode()
    headers = [(b"content-length", b"%d" % len(content)), (b"content-type", b"application/json"), *more]
    return Reply(answer.status, headers, content)


def _refused(busy: Busy) -> Reply:
    return _reply(Answer(503, {"detail": str(busy)}), _RETRY)


async def _send(reply: Reply, send: Send) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    await send({"type": "http.response.body", "body": reply.content})
