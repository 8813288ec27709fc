"""Bodies that do not arrive: over real connections, because only a server can let go of one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI

from app.core.config import Settings
from loadtests.stage.embedded import free_port
from tests.support.pairs import wait_until

PATIENCE_MS = 300


@pytest.fixture
def served(app: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[uvicorn.Server]:
    """The application in a server of this process."""
    monkeypatch.setattr(settings, "body_timeout_ms", PATIENCE_MS)
    config = uvicorn.Config(app, host="127.0.0.1", port=free_port(), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield server
    server.should_exit = True
    thread.join()


def begun(server: uvicorn.Server, head: str, body: bytes = b"") -> socket.socket:
    """A connection on which a request has begun."""
    connection = socket.create_connection(("127.0.0.1", server.config.port), timeout=20)
    connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    return connection


def all_of(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    parts = []
    with contextlib.closing(connection), contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


LENGTH = "POST {} HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 100"
CHUNKED = "POST {} HTTP/1.1\nHost: x\nContent-Type: application/json\nTransfer-Encoding: chunked"


@pytest.mark.parametrize("path", ["/api/auth/login", "/api/orders/", "/no/such/path"])
@pytest.mark.parametrize(("head", "body"), [(LENGTH, b""), (LENGTH, b'{"a'), (CHUNKED, b'3\r\n{"a\r\n')])
def test_a_body_that_does_not_arrive_is_answered_and_let_go(
    served: uvicorn.Server, path: str, head: str, body: bytes
) -> None:
    started = time.monotonic()
    answer = all_of(begun(served, head.format(path), body))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower() and b"did not arrive in time" in answer
    assert time.monotonic() - started >= PATIENCE_MS / 1000
    wait_until(lambda: not served.server_state.connections and not served.server_state.tasks)


def test_a_body_that_drips_is_not_waited_for_longer(served: uvicorn.Server) -> None:
    connection = begun(served, LENGTH.format("/api/auth/login"))
    drips = 0
    connection.settimeout(0.05)
    with contextlib.closing(connection):
        while drips < 90:
            try:
                answer = connection.recv(65_536)
                break
            except TimeoutError:
                connection.sendall(b"x")
                drips += 1
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert drips < 90


def test_many_slow_bodies_do_not_keep_others_from_being_served(served: uvicorn.Server) -> None:
    slow = [begun(served, LENGTH.format("/api/auth/login")) for _ in range(60)]
    answer = all_of(begun(served, "GET /health HTTP/1.1\nHost: x\nConnection: close"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert all(all_of(connection).startswith(b"HTTP/1.1 408 ") for connection in slow)


def test_a_body_in_time_is_served(served: uvicorn.Server) -> None:
    connection = begun(served, LENGTH.format("/api/auth/login") + "\nConnection: close", b"{")
    connection.sendall(b" " * 98 + b"}")
    assert all_of(connection).startswith(b"HTTP/1.1 422 ")
