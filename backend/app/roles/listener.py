"""The connections of a web process: whole deliveries go to the door at once, everything else to the parser.

A burst brings more deliveries in a second than a general HTTP server can turn into requests. Nearly all of them come
in one piece. Such a delivery takes no parser, no task and no application: its bytes go to the door, and the
door's answer goes back. In a flood each sender must hear 503 within three seconds. Otherwise it gives up in silence
and never sends again. So a delivery that the line has no room for is refused right here.

How long the bytes have waited for this process, the kernel knows (TCP_INFO); a deadline counts from there.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from app.core.config import get_settings
from app.roles.backlog import Backlog
from app.roles.requests import REFUSAL, Requests, has_no_room, waited_s
from app.services.webhook.door import metrics
from app.services.webhook.door.parcel import declined, unpack

if TYPE_CHECKING:
    from uvicorn import Config

    from app.api.webhook import Door, Reply

BACKLOG: Final = 4096  # at most so many connections wait in the kernel until they are accepted
SWITCH_S: Final = 0.0001  # after so long a thread hands the interpreter over to another that waits for it


@lru_cache(maxsize=8)
def door_of(application: Any) -> Door | None:
    """The door of an application, None if it has none. Uvicorn's own layer is taken off, no other."""
    while isinstance(application, ProxyHeadersMiddleware):
        application = application.app
    return getattr(application, "door", None)


_backlogs: WeakKeyDictionary[ServerState, Backlog] = WeakKeyDictionary()


def backlog_of(server: ServerState, transport: asyncio.BaseTransport) -> Backlog:
    """The queue of the port that a connection came to; a server has one."""
    found = _backlogs.get(server)
    if found is None:
        name = transport.get_extra_info("sockname")
        found = _backlogs[server] = Backlog(name[1] if isinstance(name, tuple) else None)
    return found


class Listener(asyncio.Protocol):
    """One connection. With the first bytes that are no whole delivery it changes over to `Requests`."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._door = door_of(config.loaded_app)
        self._transport: asyncio.Transport | None = None
        self._backlog: Backlog
        self._delivery: tuple[bytes, float, bool] | None = (
            None  # its bytes, their waiting, whether to keep on
        )
        self._later = b""  # what came before the answer
        self._ends = False
        self._heard_all = False
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A sender is there."""
        self._transport = transport  # type: ignore[assignment]  # the one of a stream
        self._backlog = backlog_of(self._server_state, transport)
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # it has `shutdown`, as the others
        self._close_after(get_settings().body_timeout_ms / 1000)

    def connection_lost(self, exc: Exception | None) -> None:
        """The sender is gone; an answer that is still to come has no place to go."""
        self._server_state.connections.discard(self)  # type: ignore[arg-type]  # likewise
        self._transport = None
        self._stop_idle_timer()

    def shutdown(self) -> None:
        """The process ends: close the connection, after the answer if one is due."""
        self._ends = True
        self._backlog.forget()
        if self._delivery is None and self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take a whole delivery, refuse it, or hand the connection over."""
        transport = self._transport
        if transport is None:
            return
        if self._delivery is not None:
            self._later += data
            transport.pause_reading()
            return
        self._stop_idle_timer()
        waited = waited_s(transport.get_extra_info("socket"))
        data = declined(data)
        parcel = unpack(data)
        if parcel is not None and (self._is_flooded() or has_no_room(waited)):
            transport.write(REFUSAL)
            transport.close()
        elif parcel is None or self._door is None:
            self._hand_over(transport, data, waited, {})
        else:
            self._delivery = data, waited, parcel.keeps
            self._door.take(parcel, time.monotonic() - waited, self._answer, self._leave_to_application)

    def eof_received(self) -> bool:
        """The sender says no more; it still hears the answer to what it has said."""
        self._heard_all = True
        return self._delivery is not None

    def _is_flooded(self) -> bool:
        if not self._backlog.is_filling():
            return False
        metrics.FULL.inc()
        return True

    def _answer(self, reply: Reply) -> None:
        assert self._delivery is not None
        _, _, keeps = self._delivery
        self._delivery = None
        self._server_state.total_requests += 1
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        keeps = keeps and not self._ends
        headers = [*self._server_state.default_headers, *reply.headers]
        if not keeps:
            headers.append((b"connection", b"close"))
        lines = [b"%s: %s\r\n" % header for header in headers]
        transport.write(b"".join([STATUS_LINE[reply.status], *lines, b"\r\n", reply.content]))
        if not keeps:
            transport.close()
        elif self._later:
            later, self._later = self._later, b""
            transport.resume_reading()
            self.data_received(later)
        elif self._heard_all:
            transport.close()
        else:
            self._close_after(self._config.timeout_keep_alive)

    def _leave_to_application(self, noted: dict[str, Any]) -> None:
        """The application has to answer what waits here."""
        assert self._delivery is not None
        data, waited, _ = self._delivery
        self._delivery = None
        if self._transport is not None and not self._transport.is_closing():
            self._hand_over(self._transport, data, waited, noted)

    def _hand_over(
        self, transport: asyncio.Transport, data: bytes, waited: float, noted: dict[str, Any]
    ) -> None:
        self._server_state.connections.discard(self)  # type: ignore[arg-type]  # likewise
        requests = Requests(self._config, self._server_state, self._app_state)
        transport.set_protocol(requests)
        requests.connection_made(transport)
        requests.begin(data, waited, noted)
        if self._ends:
            requests.shutdown()
        if self._later:
            transport.resume_reading()
            requests.data_received(self._later)
        if self._heard_all and not requests.eof_received():
            transport.close()

    def _close_after(self, seconds: float) -> None:
        """Let a sender go that says nothing for so long."""
        assert self._transport is not None
        self._idle = asyncio.get_running_loop().call_later(seconds, self._transport.close)

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


# The event loop asks for the interpreter at every read. While the writer's thread computes, the loop waits until that
# thread hands the interpreter over: by default up to five milliseconds each time.
sys.setswitchinterval(SWITCH_S)
