"""A TCP proxy that misbehaves on command, between the code under test and a PostgreSQL server.

`mode` holds for everything that passes from then on: PASS; STALL accepts connections and bytes and hands
nothing on until the mode changes; SLOW hands each piece on after a delay; REFUSE closes what asks for a
connection. `cut`, `reset` and `forget` are done once to what is connected: closed in order, closed with RST,
or dropped towards the server while the client hears nothing, ever (as behind a frozen load balancer).
`lose_commit` drops the server's answer to a COMMIT and resets that connection: the lost acknowledgement.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from enum import StrEnum

_LINGER_NOT = struct.pack("ii", 1, 0)
_COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"  # the server's CommandComplete


class Mode(StrEnum):
    """What happens to what passes."""

    PASS = "pass"
    STALL = "stall"
    SLOW = "slow"
    REFUSE = "refuse"


class _Link:
    """One client and its connection to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server
        self.begun = b""  # the first bytes, with the application's name in them
        self.forgotten = False
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):  # the latter: closed by the other thread
            while data := self._receive(source):
                if len(self.begun) < 1024 and source is self.client:
                    self.begun += data[:1024]
                if not self.proxy.may_pass(self) or self.forgotten:
                    break
                if source is self.server and self.proxy.is_to_be_lost(self, data):
                    self.close(reset=True)
                    return
                target.sendall(data)
        if not self.forgotten:
            self.close()

    @staticmethod
    def _receive(source: socket.socket) -> bytes:
        """Never blocked for long: a socket is not reset while somebody is waiting on it."""
        while not select.select([source], [], [], 0.05)[0]:
            pass
        return source.recv(65536)

    def close(self, *, reset: bool = False) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                else:
                    end.shutdown(socket.SHUT_RDWR)  # wakes the other thread, too
            end.close()

    def forget(self) -> None:
        self.forgotten = True
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
            self.server.close()


class Proxy:
    """Listens on a port of its own.

    Args:
        upstream: the port of 127.0.0.1 where the server listens.
        delay_s: per piece in mode SLOW.
    """

    def __init__(self, upstream: int, *, delay_s: float = 0.1) -> None:
        self._upstream = upstream
        self._delay_s = delay_s
        self._mode = Mode.PASS
        self._changed = threading.Condition()
        self._links: list[_Link] = []
        self._forgotten: list[_Link] = []
        self._lose: bytes | None = None
        self.lost = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._mode is Mode.REFUSE:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                    client.close()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._upstream), timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._links.append(_Link(self, client, server))

    def may_pass(self, link: _Link) -> bool:
        """Waits as the mode demands; false when nothing more is to pass there."""
        if self._mode is Mode.SLOW:
            time.sleep(self._delay_s)
        with self._changed:
            self._changed.wait_for(lambda: self._mode is not Mode.STALL or link.forgotten)
        return True

    def is_to_be_lost(self, link: _Link, data: bytes) -> bool:
        """Whether this is the answer that `lose_commit` waits for."""
        with self._changed:
            if self._lose is None or _COMMITTED not in data or self._lose not in link.begun:
                return False
            self._lose = None
        self.lost.set()
        return True

    def lose_commit(self, application: str = "") -> None:
        """Lose the next answer to a COMMIT, of connections with that application_name only if one is given."""
        self.lost.clear()
        self._lose = application.encode()

    def cut(self) -> None:
        """Close every connection in order."""
        self._drop(_Link.close)

    def reset(self) -> None:
        """Close every connection with RST."""
        self._drop(lambda link: link.close(reset=True))

    def forget(self) -> None:
        """Lose every connection towards the server; the clients are left waiting."""
        self._drop(_Link.forget)

    def _drop(self, how: Callable[[_Link], None]) -> None:
        links, self._links = self._links, []
        for link in links:
            how(link)
        with self._changed:
            self._changed.notify_all()
        self._forgotten += [link for link in links if link.forgotten]

    def close(self) -> None:
        self.mode = Mode.PASS
        self._listener.close()
        self.cut()
        for link in self._forgotten:
            link.close()
