"""Sends prepared messages, each over a connection of its own, at the cost of a few system calls each.

One loop over epoll instead of asyncio: a task and a transport per delivery would take processor time from the
server that is being measured. It keeps TradingView's rules: 3 s for an answer, a resend 5 s after a 5xx answer
other than 504, three resends at most.
"""

from __future__ import annotations

import errno
import heapq
import resource
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.traffic.ledger import Attempt
from loadtests.traffic.sender import RESENDS, TIMEOUT_S, sent_again
from loadtests.traffic.wire import Answer

RESEND_DELAY_S = 5.0
HOST = "127.0.0.1"
PORTS = 10_000  # connections from one address; the next ones come from the next address of 127/8
AT_ONCE = 64  # connections that are begun before answers are read again
_BIND_ADDRESS_NO_PORT = 24  # Linux: the port is chosen when the connection is made
_SPARE_FILES = 64


def may_open_many() -> int:
    """Raise this process's limit of open files as far as it goes; returns how many connections that allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - _SPARE_FILES


@dataclass(slots=True)
class Sent:
    """What became of one message. `late`: seconds from when it was due until its first attempt began."""

    attempts: list[Attempt] = field(default_factory=list)
    answer: Answer | None = None
    why: str | None = None
    late: float = 0.0


@dataclass(slots=True)
class _Open:
    """One connection."""

    number: int
    connection: socket.socket
    at: float
    began: float
    left: memoryview
    heard: bytearray = field(default_factory=bytearray)
    connected: bool = False
    over: bool = False


def complete(heard: bytes | bytearray) -> Answer | None:
    """The answer once all of it has been heard; None before that. Without a length, the connection's end tells."""
    head, found, body = bytes(heard).partition(b"\r\n\r\n")
    if not found:
        return None
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and len(body) >= int(value):
            return Answer(int(head.split(b" ", 2)[1]), body)
    return None


class Volley:
    """Sends every message at its moment, and again where the rules say so.

    Args:
        port: on 127.0.0.1.
        messages: whole HTTP requests.
        dues: seconds after the begin, one for each message, ascending.
        source: number from 0 to 255 that keeps the addresses of several processes apart.
        timeout_s: how long an answer is waited for.
        resend_delay_s: pause before a resend.
        resend_cut: whether a message is sent again whose connection ended before the answer. TradingView's rules
            do not say so; a burst during which processes are killed needs it to see every message taken.
        clients: at most so many messages are under way at a time; None: all that are due.
    """

    def __init__(
        self,
        port: int,
        messages: Sequence[bytes],
        dues: Sequence[float],
        *,
        source: int = 0,
        timeout_s: float = TIMEOUT_S,
        resend_delay_s: float = RESEND_DELAY_S,
        resend_cut: bool = False,
        clients: int | None = None,
    ) -> None:
        self.sent = [Sent() for _ in messages]
        self._address = (HOST, port)
        self._messages = [memoryview(message) for message in messages]
        self._dues = dues
        self._source = source
        self._timeout_s = timeout_s
        self._resend_delay_s = resend_delay_s
        self._resend_cut = resend_cut
        self._clients = len(messages) if clients is None else clients
        self._heap: list[tuple[float, int]] = []
        self._open: dict[int, _Open] = {}
        self._oldest: deque[_Open] = deque()
        self._begun = 0
        self._epoll = select.epoll()

    def run(self, began: float | None = None) -> list[Sent]:
        """Send everything; returns when nothing is under way and nothing will be sent again.

        `began`: the begin as a monotonic time; now if not given.
        """
        origin = time.monotonic() if began is None else began
        self._heap = [(origin + due, number) for number, due in enumerate(self._dues)]
        heapq.heapify(self._heap)
        while self._heap or self._open:
            self._begin_due()
            self._give_up()
            for descriptor, _ in self._epoll.poll(self._patience_s()):
                one = self._open.get(descriptor)
                if one is not None:
                    self._go_on(one)
        self._epoll.close()
        return self.sent

    def _patience_s(self) -> float:
        moments = [self._heap[0][0]] if self._heap and self._may_begin() else []
        while self._oldest and self._oldest[0].over:
            self._oldest.popleft()
        if self._oldest:
            moments.append(self._oldest[0].began + self._timeout_s)
        return max(0.0, min(moments) - time.monotonic()) if moments else 0.0

    def _begin_due(self) -> None:
        for _ in range(AT_ONCE):
            if not self._heap or not self._may_begin() or self._heap[0][0] > time.monotonic():
                return
            due, number = heapq.heappop(self._heap)
            self._begin(due, number)

    def _may_begin(self) -> bool:
        return len(self._open) < self._clients

    def _begin(self, due: float, number: int) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        one = _Open(number, connection, time.time(), time.monotonic(), self._messages[number])
        sent = self.sent[number]
        if not sent.attempts:
            sent.late = one.began - due
        self._begun += 1
        try:
            connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            connection.bind((f"127.{1 + self._source}.{1 + self._begun // PORTS}.1", 0))
            code = connection.connect_ex(self._address)
        except OSError as error:
            self._end(one, None, str(error))
            return
        if code not in (0, errno.EINPROGRESS):
            self._end(one, None, errno.errorcode.get(code, str(code)))
            return
        self._open[connection.fileno()] = one
        self._oldest.append(one)
        self._epoll.register(connection.fileno(), select.EPOLLOUT)
        self._go_on(one)  # on this machine the connection is usually there at once

    def _go_on(self, one: _Open) -> None:
        try:
            if one.left:
                one.left = one.left[one.connection.send(one.left) :]
                one.connected = True
                if not one.left:
                    self._epoll.modify(one.connection.fileno(), select.EPOLLIN)
                return
            part = one.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EAGAIN):
                self._end(one, None, str(error))
            return
        one.heard += part
        answer = complete(one.heard)
        if answer is not None:
            self._end(one, answer, None)
        elif not part:
            self._end(one, None, "the connection ended before the answer")

    def _give_up(self) -> None:
        until = time.monotonic() - self._timeout_s
        while self._oldest and (self._oldest[0].over or self._oldest[0].began <= until):
            one = self._oldest.popleft()
            if not one.over:
                # The server may have seen a connection that was not complete here: never counted as not sent.
                one.connected = True
                self._end(one, None, f"no answer within {self._timeout_s:g} s", given_up=True)

    def _end(self, one: _Open, answer: Answer | None, why: str | None, *, given_up: bool = False) -> None:
        one.over = True
        if self._open.pop(one.connection.fileno(), None) is not None:
            self._epoll.unregister(one.connection.fileno())
        one.connection.close()
        took_ms = (time.monotonic() - one.began) * 1000
        status = None if answer is None else answer.status
        attempt = Attempt(one.at, took_ms, status, answer is not None or one.connected)
        sent = self.sent[one.number]
        sent.attempts.append(attempt)
        sent.answer, sent.why = answer, why
        cut = self._resend_cut and answer is None and not given_up
        if len(sent.attempts) <= RESENDS and (cut or sent_again(attempt)):
            heapq.heappush(self._heap, (time.monotonic() + self._resend_delay_s, one.number))
