"""Middleware that refuses a request no handler could store: too large, too slow, too deep, or unstorable text.

It reads the whole body (at most `MAX_BODY_BYTES`), checks it and replays it to the application. Being
outside of routing it covers every path, including bodies that a handler reads as raw text.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.config import get_settings
from app.core.text_rules import TOO_DEEP, UNSTORABLE_TEXT, escapes_are_storable, is_too_deep

MAX_BODY_BYTES: Final = 1024 * 1024
TOO_LARGE: Final = f"Request body is larger than {MAX_BODY_BYTES} bytes."
ARRIVED: Final = "st_arrived"  # in a request's state: when its bytes came, as time.monotonic tells it
TOO_SLOW: Final = "The request body did not arrive in time."


class BodyTooLarge(Exception):
    """The body went past the limit while it was read."""


class ClientGone(Exception):
    """The client disconnected before the body was complete."""


class BodyTooSlow(Exception):
    """The body was not complete in time."""


class RequestGuardMiddleware:
    """ASGI middleware: 413 for a large body, 408 for a slow one, 400 for deep JSON and for unstorable text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(scope, receive, get_settings().body_timeout_ms / 1000)
        except BodyTooLarge:
            await JSONResponse({"detail": TOO_LARGE}, 413)(scope, receive, send)
            return
        except BodyTooSlow:
            await too_slow()(scope, receive, send)
            return
        except ClientGone:
            return
        reason = refusal(scope, body)
        if reason is not None:
            await JSONResponse({"detail": reason}, 400)(scope, receive, send)
            return
        await self._app(scope, Replay(body, receive), send)


def too_slow() -> JSONResponse:
    """The answer to a body that was not complete in time; it also ends the connection, which the rest would block."""
    return JSONResponse({"detail": TOO_SLOW}, 408, headers={"Connection": "close"})


class Replay:
    """A receive channel that hands out the body once and then follows the real channel."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


async def read_body(scope: Scope, receive: Receive, patience_s: float | None = None) -> bytes:
    """The whole body.

    Raises BodyTooLarge, ClientGone, and BodyTooSlow when it is not complete after so many seconds.
    """
    if _declared_length(scope) > MAX_BODY_BYTES:
        raise BodyTooLarge
    try:
        async with asyncio.timeout(patience_s):
            return await _all_chunks(receive)
    except TimeoutError:
        raise BodyTooSlow from None


async def _all_chunks(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def refusal(scope: Scope, body: bytes) -> str | None:
    """The reason to refuse the request, or None."""
    if "\x00" in scope["path"] or b"\x00" in unquote_to_bytes(scope.get("query_string", b"")):
        return UNSTORABLE_TEXT
    return text_refusal(body)


def text_refusal(body: bytes) -> str | None:
    """The reason to refuse a body, or None."""
    if not escapes_are_storable(body):
        return UNSTORABLE_TEXT
    return TOO_DEEP if is_too_deep(body) else None
