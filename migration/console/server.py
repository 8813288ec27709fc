"""The page's server: the page, one stream of states for each viewer, details on demand, actions if they are allowed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.db.common.errors import SwitchError
from app.db.sides.stores import Stores
from migration.common.failures import failure
from migration.console.actions import ACTIONS, RATES, Actions
from migration.console.collector import POINT, Collector
from migration.console.details import details

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/draw.js": ("draw.js", "text/javascript; charset=utf-8"),
}
VIEWERS = 20
LOOK_S = 0.2
ALIVE_S = 10.0
LARGEST = 100_000  # bytes of a request's body: a key may be long
BODY_S = 10.0  # until a request's body is complete
DETAILS_S = 30.0  # until both sides have told their rows


class Console:
    """The application behind the guard.

    Args:
        collector: what is shown. open_stores: connections for details.
        actions: what may be done; None: nothing.
    """

    def __init__(
        self, collector: Collector, open_stores: Callable[[], Stores], actions: Actions | None
    ) -> None:
        self._collector = collector
        self._open_stores = open_stores
        self._actions = actions
        self._viewers = 0
        self._asking = threading.Lock()

    def app(self) -> Starlette:
        """The ASGI application."""
        pages = [Route(path, _file(*file)) for path, file in FILES.items()]
        return Starlette(
            routes=[
                *pages,
                Route("/points", self._points),
                Route("/events", self._events),
                Route("/details", self._details),
                Route("/plan", self._plan, methods=["POST"]),
                Route("/do", self._do, methods=["POST"]),
            ]
        )

    async def _points(self, request: Request) -> Response:
        """The last hour, and what this page may do."""
        allowed = list(ACTIONS) if self._actions else []
        points = list(self._collector.points)
        return JSONResponse({"names": POINT, "points": points, "actions": allowed})

    async def _events(self, request: Request) -> Response:
        if self._viewers >= VIEWERS:
            return JSONResponse({"message": f"{VIEWERS} pages are open already"}, 503)
        return StreamingResponse(self._stream(request), media_type="text/event-stream")

    async def _stream(self, request: Request) -> AsyncIterator[bytes]:
        self._viewers += 1
        shown, silent = 0, 0.0  # before the first look there is nothing to show
        try:
            while not await request.is_disconnected():
                if shown != self._collector.version:
                    shown, silent = self._collector.version, 0.0
                    yield b"data: " + self._collector.state + b"\n\n"
                elif silent >= ALIVE_S:
                    silent = 0.0
                    yield b": still here\n\n"
                await asyncio.sleep(LOOK_S)
                silent += LOOK_S
        finally:
            self._viewers -= 1

    async def _details(self, request: Request) -> Response:
        return await run_in_threadpool(self._told, self._read_details)

    def _read_details(self) -> Any:
        with self._asking, self._open_stores() as stores:
            stores.finish_by(time.monotonic() + DETAILS_S)
            return details(stores)

    async def _plan(self, request: Request) -> Response:
        actions = self._actions
        if actions is None:
            return _refused("this console was started without --allow-actions", 403)
        asked = await _body(request)
        if isinstance(asked, Response):
            return asked
        table, key = _text(asked.get("table")), _text(asked.get("key"))
        rates = {name: str(asked[name]) for name in RATES if asked.get(name)}
        return await run_in_threadpool(
            self._told, lambda: actions.plan(str(asked.get("action")), table, key, rates)
        )

    async def _do(self, request: Request) -> Response:
        actions = self._actions
        if actions is None:
            return _refused("this console was started without --allow-actions", 403)
        asked = await _body(request)
        if isinstance(asked, Response):
            return asked

        def begin() -> dict[str, Any]:
            actions.run(str(asked.get("ticket")), str(asked.get("typed")))
            return {"message": "begun"}

        return await run_in_threadpool(self._told, begin)

    @staticmethod
    def _told(ask: Callable[[], Any]) -> Response:
        """The answer, or why there is none, in one line."""
        try:
            text = json.dumps(ask(), default=str)
        except (SwitchError, psycopg.Error, sqlite3.Error, OSError) as error:
            return _refused(failure(error).message, 409)
        return Response(text, media_type="application/json")


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    content = (PAGE / name).read_bytes()
    return lambda request: Response(content, media_type=kind)


async def _body(request: Request) -> dict[str, Any] | Response:
    """The JSON object of a request, or why there is none."""
    text = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                text += part
                if len(text) > LARGEST:
                    return _refused(f"a request may have {LARGEST:,} bytes", 413)
        found = json.loads(text)
    except TimeoutError:
        return _refused(f"the request was not complete within {BODY_S:.0f} s", 408)
    except (ValueError, RecursionError, ClientDisconnect):
        found = None
    return found if isinstance(found, dict) else _refused("this is no request of the page", 400)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _refused(message: str, code: int) -> Response:
    return JSONResponse({"message": message}, code)
