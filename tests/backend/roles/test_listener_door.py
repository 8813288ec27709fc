"""A connection whose deliveries go to the door: who is answered, with what, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.api.webhook import ERROR, Reply
from app.core.config import get_settings
from app.roles import listener
from app.roles.listener import Listener
from app.services.webhook.door.parcel import Parcel
from tests.support.pairs import wait_until

BODY = b'{"symbol":"TCS"}'
WHOLE = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n" + BODY
LAST = WHOLE.replace(b"Host: x", b"Connection: close")
TAKEN, SERVED = b"taken", b"served"
ANSWER = Reply(201, [(b"content-length", b"5"), (b"content-type", b"application/json")], TAKEN)


class HeldDoor:
    """Keeps the deliveries that it takes until the test lets them go; `at_once` answers them itself."""

    def __init__(self) -> None:
        self.at_once = True
        self.arrivals: list[float] = []
        self.taken: list[tuple[Parcel, Callable[[Reply], None], Callable[[dict[str, Any]], None]]] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    def take(self, parcel: Parcel, arrived: float, tell: Callable[[Reply], None], unusual: Any) -> None:
        """Take a delivery."""
        self.loop = asyncio.get_running_loop()
        self.arrivals.append(arrived)
        self.taken.append((parcel, tell, unusual))
        if self.at_once:
            tell(ANSWER)

    def answer(self, number: int) -> None:
        """Answer a delivery that was taken."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.taken[number][1], ANSWER)

    def fail(self, number: int, **noted: Any) -> None:
        """Leave a delivery that was taken to the application."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.taken[number][2], noted)


class Application:
    """Answers what comes to it as a request, and keeps what it saw."""

    def __init__(self) -> None:
        self.door = HeldDoor()
        self.seen: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.seen.append({"body": body, "state": scope["state"]})
        headers = [(b"content-length", b"6"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": SERVED})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def server(application: Application) -> Iterator[tuple[uvicorn.Server, int]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        config = uvicorn.Config(application, http=Listener, lifespan="off", log_level="warning")  # type: ignore[arg-type]  # like any application
        config.timeout_keep_alive = 1
        running = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(running.serve([listening])))
        thread.start()
        wait_until(lambda: running.started)
        yield running, listening.getsockname()[1]
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def connection(server: tuple[uvicorn.Server, int]) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server[1]), timeout=30) as connection:
        yield connection


def heard_on(connection: socket.socket, until: bytes) -> bytes:
    """What is heard until an answer ends so, or the connection ends."""
    heard = b""
    while not heard.endswith(until) and (more := connection.recv(65_536)):
        heard += more
    return heard


def fields_of(answer: bytes) -> list[bytes]:
    """Status line and headers, without values that differ each time."""
    return [
        line for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n") if not line.startswith((b"date:", b"content-length:"))
    ]  # fmt: skip


def test_an_answer_of_the_door_reads_like_any_other(
    application: Application, connection: socket.socket
) -> None:
    connection.sendall(WHOLE)
    from_door = heard_on(connection, TAKEN)
    connection.sendall(WHOLE[:-3])
    connection.sendall(WHOLE[-3:])
    from_application = heard_on(connection, SERVED)
    assert len(application.door.taken) == len(application.seen) == 1
    assert fields_of(from_door) == fields_of(from_application)
    assert b"content-length: 5\r\n" in from_door
    parcel = application.door.taken[0][0]
    assert (parcel.path, parcel.content, parcel.headers[b"host"]) == ("/webhook", BODY, b"x")


def test_a_connection_serves_one_delivery_after_the_other(
    application: Application, connection: socket.socket
) -> None:
    for _ in range(3):
        connection.sendall(WHOLE)
        assert heard_on(connection, TAKEN).startswith(b"HTTP/1.1 201 Created\r\n")
    connection.sendall(LAST)
    answer = heard_on(connection, b"never")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(TAKEN)
    assert len(application.door.taken) == 4


def test_the_door_is_told_how_long_a_delivery_has_waited(
    application: Application, connection: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deadline counts from there."""
    monkeypatch.setattr(listener, "waited_s", lambda _: 0.7)
    before = time.monotonic()
    connection.sendall(WHOLE)
    heard_on(connection, TAKEN)
    assert before - 0.7 <= application.door.arrivals[0] <= time.monotonic() - 0.7


def test_an_idle_connection_is_closed(connection: socket.socket) -> None:
    connection.sendall(WHOLE)
    heard_on(connection, TAKEN)
    assert connection.recv(1) == b""


def test_what_comes_before_the_answer_is_served_after_it(
    application: Application, server: tuple[uvicorn.Server, int], connection: socket.socket
) -> None:
    application.door.at_once = False
    connection.sendall(WHOLE)
    wait_until(lambda: application.door.taken)
    connection.sendall(WHOLE + WHOLE)  # two at once are no whole delivery
    (ours,) = server[0].server_state.connections
    wait_until(lambda: len(ours._later) == 2 * len(WHOLE))  # type: ignore[union-attr]  # a listener
    application.door.answer(0)
    heard = b""
    while heard.count(b"HTTP/1.1 201") < 3 or not heard.endswith(SERVED):
        heard += heard_on(connection, SERVED)
    assert heard.index(TAKEN) < heard.index(SERVED)
    assert [seen["body"] for seen in application.seen] == [BODY, BODY]


def test_what_the_door_cannot_answer_the_application_answers(
    application: Application, connection: socket.socket
) -> None:
    application.door.at_once = False
    connection.sendall(WHOLE)
    wait_until(lambda: application.door.taken)
    error = ValueError("a fault")
    application.door.fail(0, **{ERROR: error})
    assert heard_on(connection, SERVED).endswith(SERVED)
    (seen,) = application.seen
    assert (seen["body"], seen["state"][ERROR]) == (BODY, error)
    connection.sendall(WHOLE)  # the next request of this connection has nothing of it
    assert heard_on(connection, SERVED).endswith(SERVED)
    assert ERROR not in application.seen[1]["state"]


def test_a_process_that_ends_answers_what_it_has_taken(
    application: Application, server: tuple[uvicorn.Server, int], connection: socket.socket
) -> None:
    application.door.at_once = False
    connection.sendall(WHOLE)
    wait_until(lambda: application.door.taken)
    server[0].should_exit = True
    wait_until(lambda: not server[0].servers or not server[0].servers[0].is_serving())
    application.door.answer(0)
    answer = heard_on(connection, b"never")
    assert answer.endswith(TAKEN)
    assert b"\r\nconnection: close\r\n" in answer


def test_a_sender_that_left_hurts_nobody(
    application: Application, server: tuple[uvicorn.Server, int], connection: socket.socket
) -> None:
    application.door.at_once = False
    with socket.create_connection(("127.0.0.1", server[1]), timeout=30) as gone:
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed with a reset
        gone.sendall(WHOLE)
        wait_until(lambda: application.door.taken)
    wait_until(lambda: len(server[0].server_state.connections) == 1)
    application.door.answer(0)
    connection.sendall(WHOLE)
    wait_until(lambda: len(application.door.taken) == 2)
    application.door.answer(1)
    assert heard_on(connection, TAKEN).endswith(TAKEN)


def everything_on(connection: socket.socket) -> bytes:
    """What is heard until the connection ends."""
    return heard_on(connection, b"never")


@pytest.mark.parametrize(
    "pieces", [[WHOLE], [WHOLE[:-3], WHOLE[-3:]], [WHOLE + WHOLE]], ids=["one", "two", "many"]
)
def test_a_sender_who_says_no_more_hears_the_answer(
    application: Application, connection: socket.socket, pieces: list[bytes]
) -> None:
    """A half-closed connection is what `shutdown` leaves: such a sender reads on."""
    application.door.at_once = False
    for piece in pieces:
        connection.sendall(piece)
    connection.shutdown(socket.SHUT_WR)
    wait_until(lambda: application.door.taken or application.seen)
    if application.door.taken:
        application.door.answer(0)
    answers = everything_on(connection)
    assert answers.count(b"HTTP/1.1 201") == b"".join(pieces).count(WHOLE)


@pytest.mark.parametrize("rest", [b"", WHOLE[:-3]], ids=["nothing", "half a delivery"])
def test_a_sender_who_says_no_more_waits_for_nothing(
    application: Application, connection: socket.socket, rest: bytes
) -> None:
    connection.sendall(WHOLE)
    heard_on(connection, TAKEN)
    connection.sendall(rest)
    connection.shutdown(socket.SHUT_WR)
    assert everything_on(connection) == b""
    assert len(application.door.taken) == 1


def test_nonsense_behind_a_delivery_is_refused_behind_its_answer(
    application: Application, connection: socket.socket
) -> None:
    """Otherwise the sender would take the refusal for the answer to a delivery that is stored."""
    connection.sendall(WHOLE + WHOLE + b"nonsense" + 2 * b"\r\n")
    statuses = re.findall(rb"HTTP/1.1 (\d+)", everything_on(connection))
    assert statuses == [b"201", b"201", b"400"]
    assert len(application.seen) == 2


@pytest.mark.parametrize("said", [b"", b"POST /webhook", WHOLE + b"P", b"G", b"\r\n\r\n"])
def test_a_sender_that_brings_no_request_is_let_go(
    server: tuple[uvicorn.Server, int], said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it drips: it keeps a connection, and these are not without number."""
    monkeypatch.setattr(get_settings(), "body_timeout_ms", 200)
    with socket.create_connection(("127.0.0.1", server[1]), timeout=0.02) as connection:
        connection.sendall(said)
        heard, drips = b"", 0
        while drips < 500:
            try:
                more = connection.recv(65_536)
            except TimeoutError:
                drips += 1
                if said and not said.endswith(b"\n"):
                    connection.sendall(b"E")
                continue
            except ConnectionError:
                break
            if not more:
                break
            heard += more
        assert drips < 500
    assert (TAKEN in heard or SERVED in heard) is said.startswith(WHOLE)


@pytest.mark.parametrize(
    "begin", [b"GET /health HTTP/1.1\r\nA: ", b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;"]
)
def test_a_head_without_an_end_fills_no_memory(
    server: tuple[uvicorn.Server, int], begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings(), "body_timeout_ms", 600_000)
    with (
        socket.create_connection(("127.0.0.1", server[1]), timeout=20) as connection,
        suppress(ConnectionError),
    ):
        connection.sendall(begin)
        for _ in range(32):
            connection.sendall(b"a" * 65_536)
        while connection.recv(65_536):
            pass
