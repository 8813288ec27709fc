"""Requests as a web process gets them from a socket: each as bytes in one piece, given to the listener."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from app.roles.listener import Listener


class Wire(asyncio.Transport):
    """The process's end of a connection; `heard` is what the sender hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = b""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing = False
        self._protocol: Any = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hear; the answer is complete when its content is as long as it says."""
        self.heard += bytes(data)
        head, end, content = self.heard.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if end and lengths and len(content) == int(lengths[0][15:]) and not self.answered.done():
            self.answered.set_result(None)

    def close(self) -> None:
        """No more is sent; what is not answered by then never is."""
        self._closing = True
        if not self.answered.done():
            self.answered.set_exception(ConnectionResetError("closed without an answer"))

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who is given what comes."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """Who is given what comes."""
        return self._protocol

    def pause_reading(self) -> None:
        """Nothing more comes here anyway."""

    def resume_reading(self) -> None:
        """Nothing more comes here anyway."""


class InOnePiece(httpx.AsyncBaseTransport):
    """Gives each request to a connection of its own at the listener of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._config = uvicorn.Config(app, http=Listener, lifespan="off", log_config=None)
        self._config.load()
        self.unpacked = 0  # requests that took no parser

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its answer."""
        fields = b"".join(b"%s: %s\r\n" % field for field in request.headers.raw)
        line = b"%s %s HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
        wire = Wire()
        listener = Listener(self._config, ServerState(), {})
        wire.set_protocol(listener)
        listener.connection_made(wire)
        listener.data_received(line + fields + b"\r\n" + await request.aread())
        await wire.answered
        self.unpacked += wire.get_protocol() is listener
        head, _, content = wire.heard.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = [tuple(field.split(b": ", 1)) for field in lines]
        protocol = wire.get_protocol()
        protocol.connection_lost(None)
        return httpx.Response(int(status.split()[1]), headers=headers, content=content)  # type: ignore[arg-type]
