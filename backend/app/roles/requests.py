"""The connections that carry anything but whole deliveries: Uvicorn's parser, and what the door must know.

Here too a delivery that cannot be served in time is refused before it is a request. A sender that does not come to
the end of a request's head is let go, after a time and after so many bytes; bodies have such limits in `core.request_guard`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.core.config import get_settings
from app.core.errors import RETRY_AFTER_S, Busy
from app.core.request_guard import ARRIVED
from app.services.webhook.door.line import TOO_MANY
from app.services.webhook.door.parcel import declined, unpack
from app.services.webhook.door.writer import WRITER

_BODY: Final = b'{"detail":"%s"}' % TOO_MANY.encode()
REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"retry-after: %s\r\nconnection: close\r\n\r\n%s" % (len(_BODY), RETRY_AFTER_S.encode(), _BODY)
)
FRUITLESS_AT_MOST: Final = 64 * 1024  # bytes that bring neither a head to its end nor a part of a body
TOO_LONG: Final = "The head of the request is too large."
# struct tcp_info of Linux: eight bytes, then numbers of four; the twelfth says how many ms ago data came.
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
_LAST_DATA: Final = struct.Struct("@52xI")


def waited_s(connection: Any) -> float:
    """For how long the last data of a connection have been there, in seconds; 0 where nobody knows."""
    if _TCP_INFO is None or connection is None:
        return 0.0
    try:
        found = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_DATA.size)
        (milliseconds,) = _LAST_DATA.unpack(found)
    except (OSError, struct.error):
        return 0.0  # not TCP
    return float(milliseconds) / 1000


def has_no_room(waited: float) -> bool:
    """Whether another delivery, which has waited so many seconds already, could not be served in time."""
    settings = get_settings()
    try:
        WRITER.line.check(settings.webhook_queue, settings.webhook_max_wait_ms / 1000, waited)
    except Busy:
        return True
    return False


class Requests(HttpToolsProtocol):
    """One connection whose bytes go to the parser."""

    _waited_s = 0.0
    _noted: dict[str, Any] | None = None
    _heard_all = False
    _serving: RequestResponseCycle | None = None
    _slow: asyncio.TimerHandle | None = None  # how long the sender has for what is no request yet
    _fruitless = 0  # bytes since the parser last found something
    _nonsense: str | None = None  # the refusal of what came behind requests that still wait for their answers

    def begin(self, data: bytes, waited: float, noted: dict[str, Any]) -> None:
        """The first bytes, which have waited so many seconds; `noted` is what the first request's state holds."""
        self._waited_s, self._noted = waited, noted
        self._feed(data)

    def data_received(self, data: bytes) -> None:
        """Refuse a delivery that could not be served in time, or hand the bytes to the parser."""
        if self._nonsense is not None:
            return
        self._waited_s = waited_s(self.transport.get_extra_info("socket"))
        if not self._is_serving():
            data = declined(data)
        if self.cycle is None and unpack(data) and has_no_room(self._waited_s):
            self.transport.write(REFUSAL)
            self.transport.close()
            return
        self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more."""
        self._stop_slow_timer()
        super().connection_lost(exc)

    def _feed(self, data: bytes) -> None:
        """Hand bytes to the parser, and see to it that a request comes of them."""
        self._fruitless += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if self._fruitless > FRUITLESS_AT_MOST:
            self.send_400_response(TOO_LONG)
        elif self._slow is None and not self._is_serving():
            patience = get_settings().body_timeout_ms / 1000
            self._slow = self.loop.call_later(patience, self._let_go)

    def _let_go(self) -> None:
        self._slow = None
        if not self._is_serving():
            self.transport.close()

    def _is_serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _stop_slow_timer(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def on_headers_complete(self) -> None:
        """A request's head is here."""
        self._stop_slow_timer()
        self._fruitless = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body is here."""
        self._fruitless = 0
        super().on_body(body)

    def on_message_begin(self) -> None:
        """A request begins: the application is told when its first bytes came."""
        self._fruitless = 0
        super().on_message_begin()
        self.scope["state"][ARRIVED] = time.monotonic() - self._waited_s
        if self._noted:
            self.scope["state"].update(self._noted)
            self._noted = None

    def eof_received(self) -> bool:  # type: ignore[override]  # Uvicorn's closes in any case
        """The sender says no more; it still hears the answers to what it has said completely."""
        self._heard_all = True
        return self._owes_an_answer()

    def on_response_complete(self) -> None:
        """A request is answered; behind the last one the connection may end."""
        super().on_response_complete()
        if self._owes_an_answer() or self.transport.is_closing():
            return
        if self._nonsense is not None:
            super().send_400_response(self._nonsense)
        elif self._heard_all:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no request, after the answers that are due: a sender takes the next answer for its own."""
        if self._owes_an_answer():
            self._nonsense = msg
        else:
            super().send_400_response(msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def _owes_an_answer(self) -> bool:
        cycles = (self._serving, *(cycle for cycle, _app in self.pipeline))
        return any(one and not one.response_complete and not one.more_body for one in cycles)
