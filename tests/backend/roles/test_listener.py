"""The listener: a delivery that cannot be served in time is refused from its first bytes, all others become requests."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from unittest.mock import Mock

import pytest
import uvicorn
from fastapi import FastAPI
from prometheus_client import REGISTRY
from starlette.types import Message, Receive, Scope, Send

from app import run
from app.api.webhook import Door
from app.core.config import Settings, get_settings
from app.core.errors import Busy
from app.core.request_guard import ARRIVED
from app.roles import listener, requests
from app.roles.backlog import Backlog, listening
from app.roles.listener import BACKLOG, Listener
from app.roles.requests import waited_s
from app.services.webhook.door.line import TOO_MANY, Line
from app.services.webhook.door.parcel import declined, unpack
from tests.support.pairs import wait_until

BODY = b'{"symbol":"TCS"}'
WHOLE = b"POST /webhook/tradingview HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n" + BODY
SERVED = b"served"


class Application:
    """Answers everything, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[Scope] = []
        self.heard = b""  # of all bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope)
        while (part := await receive()).get("more_body"):
            self.heard += part["body"]
        self.heard += part["body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": SERVED})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def port(application: Application) -> Iterator[int]:
    """Of a server with this listener."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        config = uvicorn.Config(application, http=Listener, lifespan="off", log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        wait_until(lambda: server.started)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A line that has no room; how long each delivery had waited that asked."""
    asked: list[float] = []

    def check(_: Line, at_most: int, max_wait_s: float, waited: float = 0.0) -> None:
        settings = get_settings()
        assert (at_most, max_wait_s) == (settings.webhook_queue, settings.webhook_max_wait_ms / 1000)
        asked.append(waited)
        raise Busy(TOO_MANY)

    monkeypatch.setattr(Line, "check", check)
    return asked


def answer_to(port: int, *parts: bytes) -> bytes:
    """What a connection hears until it ends, or until the application has answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        return heard_on(connection)


def heard_on(connection: socket.socket) -> bytes:
    """What is heard until the application has answered, or the connection ends."""
    heard = b""
    while not heard.endswith(SERVED) and (more := connection.recv(65_536)):
        heard += more
    return heard


def test_a_delivery_without_room_is_refused_before_the_application(
    port: int, application: Application, line: list[float]
) -> None:
    heard = answer_to(port, WHOLE)
    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 2" in head.lower()
    assert body == b'{"detail":"%s"}' % TOO_MANY.encode()
    assert b"content-length: %d" % len(body) in head.lower()
    assert application.seen == []
    assert len(line) == 1


def test_a_delivery_is_refused_while_the_kernels_queue_fills(
    port: int, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backlog, "is_filling", lambda _: True)
    full = REGISTRY.get_sample_value("st_webhook_refused_total", {"reason": "full"}) or 0.0
    assert answer_to(port, WHOLE).startswith(b"HTTP/1.1 503 ")
    assert application.seen == []
    assert REGISTRY.get_sample_value("st_webhook_refused_total", {"reason": "full"}) == full + 1


@pytest.mark.parametrize(
    "data",
    [
        WHOLE.replace(b"POST", b"PUT"),
        WHOLE.replace(b"/webhook/tradingview", b"/webhooks"),
        WHOLE.replace(b"/webhook/tradingview", b"/api/orders"),
    ],
    ids=["method", "longer path", "path"],
)
def test_what_is_no_delivery_is_served(
    port: int, application: Application, line: list[float], data: bytes
) -> None:
    assert answer_to(port, data).endswith(SERVED)
    assert line == []


def test_a_delivery_in_pieces_goes_on_to_the_application(
    port: int, application: Application, line: list[float]
) -> None:
    """Answered at once, its sender would find the connection reset while it still writes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(WHOLE[:-4])
        wait_until(lambda: application.seen)
        connection.sendall(WHOLE[-4:])
        assert heard_on(connection).startswith(b"HTTP/1.1 200 ")
    assert line == []


def test_a_request_knows_when_its_bytes_came(port: int, application: Application) -> None:
    before = time.monotonic() - 1.0  # the kernel counts in steps of some milliseconds
    assert answer_to(port, WHOLE).endswith(SERVED)
    assert before <= application.seen[0]["state"][ARRIVED] <= time.monotonic()


def test_each_request_of_a_connection_has_its_own_beginning(
    port: int, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one comes in pieces, the first of them too short to show that it is a delivery."""
    pieces: list[object] = []

    def read(connection: object) -> float:
        pieces.append(connection)
        return 0.0

    monkeypatch.setattr(listener, "waited_s", read)
    monkeypatch.setattr(requests, "waited_s", read)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(WHOLE)
        assert heard_on(connection).endswith(SERVED)
        between = time.monotonic()
        connection.sendall(WHOLE[:2])
        wait_until(lambda: len(pieces) == 2)
        connection.sendall(WHOLE[2:])
        assert heard_on(connection).endswith(SERVED)
    first, second = (scope["state"][ARRIVED] for scope in application.seen)
    assert first < between < second


def test_the_door_counts_from_the_moment_that_the_listener_tells() -> None:
    """A delivery that waited in the kernel for longer than its time is refused, unread."""
    refused: list[Message] = []

    async def send(message: Message) -> None:
        refused.append(message)

    async def nothing_is_read() -> Message:
        raise AssertionError("the body was read")

    late = time.monotonic() - 1.1 * get_settings().webhook_max_wait_ms / 1000
    scope = {"type": "http", "headers": [(b"content-type", b"application/json")], "state": {ARRIVED: late}}
    asyncio.run(Door(FastAPI(), nothing_is_read)(scope, nothing_is_read, send))  # type: ignore[arg-type]  # never asked
    assert refused[0]["status"] == 503


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (WHOLE, True),
        (WHOLE.replace(b"/tradingview", b""), True),
        (WHOLE.replace(b"Content-Length", b"CONTENT-LENGTH"), True),
        (WHOLE[:-1], False),
        (WHOLE + b"x", False),
        (WHOLE.replace(b"Content-Length: 16", b"Transfer-Encoding: chunked"), False),
        (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (WHOLE[:20], False),
        (b"", False),
    ],
)
def test_whole_deliveries(data: bytes, whole: bool) -> None:
    assert (unpack(data) is not None) is whole


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the kernel does not tell")
def test_bytes_grow_old_before_anybody_reads_them() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as sender,
    ):
        sender.sendall(WHOLE)
        accepted, _ = listening.accept()
        with accepted:
            wait_until(lambda: waited_s(accepted) >= 0.1)
            sender.sendall(WHOLE)
            wait_until(lambda: waited_s(accepted) < 0.1)


def test_a_connection_that_tells_nothing_has_not_waited() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert waited_s(ours) == 0.0
    assert waited_s(None) == 0.0


def test_a_new_process_does_not_let_in_more_than_it_can_serve() -> None:
    """Nothing was measured yet, and the first burst is there."""
    assert Line().predicted_wait_s(20_000) > get_settings().webhook_max_wait_ms / 1000


def test_web_processes_are_served_by_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setenv("ST_ROLE", "all")
    monkeypatch.setenv("ST_PG_POOL_SIZE", "20")
    monkeypatch.setattr(run, "runtime", Mock())
    monkeypatch.setattr(run.capacity, "refusal", Mock(return_value=None))
    monkeypatch.setattr(
        run, "_serve", lambda config, sockets: given.update(vars(config), sockets=sockets) or 0
    )
    assert run.main(["web", "--workers", "2", "--port", "0"]) == 0
    assert (given["app"], given["http"], given["backlog"]) == ("app.main:app", Listener, BACKLOG)
    for one in given["sockets"]:  # type: ignore[attr-defined]
        one.close()


def test_a_setting_that_cannot_be_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ST_ROLE", "all")
    monkeypatch.setenv("ST_DUAL_WRITE", "sometimes")
    assert run.main(["web"]) == run.REFUSED
    told = capsys.readouterr().err
    assert told.startswith("ST_DUAL_WRITE is 'sometimes': ")
    assert told.count("\n") == 1

    def settings() -> None:
        Settings(_env_file=None, webhook_queue="many")  # type: ignore[arg-type]  # that is the fault

    monkeypatch.delenv("ST_DUAL_WRITE")
    monkeypatch.setenv("ST_PG_POOL_SIZE", "20")
    monkeypatch.setattr(run, "runtime", settings)
    assert run.main(["web"]) == run.REFUSED
    told = capsys.readouterr().err
    assert told.startswith("ST_WEBHOOK_QUEUE: ")
    assert told.count("\n") == 1


def test_a_port_that_is_taken_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By another program, or by another backend, whose sockets would share the port without a word."""
    monkeypatch.setenv("ST_ROLE", "all")
    monkeypatch.setenv("ST_PG_POOL_SIZE", "20")
    monkeypatch.setattr(run, "runtime", Mock())
    monkeypatch.setattr(run.capacity, "refusal", Mock(return_value=None))
    sockets = listening("127.0.0.1", 0)
    for one in sockets:
        one.listen()
    port = sockets[0].getsockname()[1]
    assert run.main(["web", "--port", str(port)]) == run.REFUSED
    assert f"127.0.0.1:{port} cannot be listened on: Address already in use" in capsys.readouterr().err
    for one in sockets:
        one.close()


@pytest.mark.parametrize(
    "data",
    [
        WHOLE.replace(b"Host: x", b"Host : x"),
        WHOLE.replace(b"Host: x", b"Host: x\r\n folded"),
        WHOLE.replace(b"Host: x", b"Host: x\x01"),
        WHOLE.replace(b"Host: x", b"Content-Length: 16"),
        WHOLE.replace(b"Host: x", b"Expect: 100-continue"),
        WHOLE.replace(b"Host: x", b"Transfer-Encoding: chunked"),
        WHOLE.replace(b"Host: x", b"Connection: upgrade\r\nUpgrade: h2c"),
        WHOLE.replace(b": 16", b": 016x"),
        WHOLE.replace(b": 16", b": " + b"0" * 5000 + b"16"),
        WHOLE.replace(b"\r\n", b"\n"),
        WHOLE.replace(b"/tradingview", b"/tradingview?a=1"),
    ],
)
def test_an_unusual_request_is_left_to_the_parser(data: bytes) -> None:
    assert unpack(data) is None


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA"
OFFERED = WHOLE.replace(b"Host: x", OFFER + b"\r\nHost: x")


@pytest.mark.parametrize("parts", [(OFFERED,), (OFFERED[:-16], BODY), (OFFERED[:-40], OFFERED[-40:])])
def test_an_offer_of_http2_costs_no_body(
    port: int, application: Application, parts: tuple[bytes, ...]
) -> None:
    for name in (b"/webhook/tradingview", b"/api/other"):
        assert answer_to(port, *(part.replace(b"/webhook/tradingview", name) for part in parts)).endswith(
            SERVED
        )
    assert application.heard == 2 * BODY


def test_only_an_offer_of_http2_is_taken_out() -> None:
    parcel = unpack(declined(OFFERED))
    assert parcel and (parcel.content, parcel.keeps) == (BODY, True)
    for data in (
        WHOLE + b"\r\nUpgrade: h2c\r\n\r\n",
        OFFERED.replace(b"Upgrade: h2c", b"Upgrade: websocket").replace(BODY, b'{"symbol":"h2c"}'),
        OFFERED[: OFFERED.index(b"Host")],
    ):
        assert declined(data) == data


def test_of_equal_headers_the_first_counts() -> None:
    parcel = unpack(
        WHOLE.replace(b"Host: x", b"X-Request-ID:  one \r\nx-request-id: two\r\nConnection: Close")
    )
    assert parcel is not None
    assert (parcel.headers[b"x-request-id"], parcel.keeps) == (b"one", False)
