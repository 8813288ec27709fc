"""The connections of a web process: what cannot be served in time is refused before it is a request.

A flood brings more deliveries in a second than the processor can parse. Each of them must hear 503 within three
seconds all the same. Its sender would otherwise give up in silence and never send it again. So a delivery that the
line has no room for is answered from its first bytes: no parser, no task, no application.

How long the bytes have waited for this process, the kernel knows (TCP_INFO); a deadline counts from there.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.config import get_settings
from app.core.errors import RETRY_AFTER_S, Busy
from app.core.request_guard import ARRIVED
from app.services.webhook.door.line import TOO_MANY
from app.services.webhook.door.writer import WRITER

BACKLOG: Final = 4096  # at most so many connections wait in the kernel until they are accepted
SWITCH_S: Final = 0.0002  # after so long a thread hands the interpreter over to another that waits for it
_DELIVERY: Final = re.compile(rb"POST /webhook(?:/tradingview)? HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,7})[ \t]*\r\n", re.IGNORECASE)
_REFUSAL_BODY: Final = b'{"detail":"%s"}' % TOO_MANY.encode()
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"retry-after: %s\r\nconnection: close\r\n\r\n%s"
    % (len(_REFUSAL_BODY), RETRY_AFTER_S.encode(), _REFUSAL_BODY)
)
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


def is_whole_delivery(data: bytes) -> bool:
    """Whether these bytes are one delivery and all of it: its sender then hears an answer that comes at once."""
    if not _DELIVERY.match(data):
        return False
    head, end, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    return bool(end) and length is not None and int(length[1]) == len(body)


class Listener(HttpToolsProtocol):
    """One connection to a web process of this application."""

    _waited_s = 0.0

    def data_received(self, data: bytes) -> None:
        """Refuse a delivery that could not be served in time, or hand the bytes to the parser."""
        self._waited_s = waited_s(self.transport.get_extra_info("socket"))
        if self.cycle is None and is_whole_delivery(data) and self._is_refused(self._waited_s):
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins: the application is told when its first bytes came."""
        super().on_message_begin()
        self.scope["state"][ARRIVED] = time.monotonic() - self._waited_s

    def _is_refused(self, waited: float) -> bool:
        settings = get_settings()
        try:
            WRITER.line.check(settings.webhook_queue, settings.webhook_max_wait_ms / 1000, waited)
        except Busy:
            self.transport.write(_REFUSAL)
            self.transport.close()
            return True
        return False


# The event loop asks for the interpreter at every read. While the writer's thread computes, the loop waits until that
# thread hands the interpreter over: by default up to five milliseconds each time.
sys.setswitchinterval(SWITCH_S)
