"""The kernel's queue of connections: while it fills, deliveries are refused before the next senders find no room."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from app.roles import backlog, listener
from app.roles.backlog import Backlog
from tests.support.pairs import wait_until

pytestmark = pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the kernel does not tell")
ROOM = 8


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=ROOM)) as listening:
        yield listening


@pytest.fixture
def queue(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Backlog:
    monkeypatch.setattr(backlog, "LOOK_AGAIN_S", 0.0)
    return Backlog(listening.getsockname()[1])


def test_a_queue_fills_and_empties(listening: socket.socket, queue: Backlog) -> None:
    assert not queue.is_filling()
    with ExitStack() as stack:
        for _ in range(int(ROOM * backlog.FULL)):
            stack.enter_context(socket.create_connection(listening.getsockname(), timeout=30))
        assert not queue.is_filling()
        stack.enter_context(socket.create_connection(listening.getsockname(), timeout=30))
        wait_until(queue.is_filling)
        stack.enter_context(closing(listening.accept()[0]))
        assert not queue.is_filling()


def test_looking_at_a_queue_does_not_keep_its_port_open(listening: socket.socket, queue: Backlog) -> None:
    address = listening.getsockname()
    assert not queue.is_filling()
    listening.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=30)
    assert not queue.is_filling()


def test_a_port_that_is_not_ours_is_never_full(listening: socket.socket) -> None:
    assert not Backlog(None).is_filling()
    with socket.create_connection(listening.getsockname(), timeout=30) as connection:
        assert not Backlog(
            connection.getsockname()[1]
        ).is_filling()  # a port of ours, on which nobody listens


def test_a_server_that_ends_looks_no_more(listening: socket.socket, queue: Backlog) -> None:
    with ExitStack() as stack:
        for _ in range(ROOM):
            stack.enter_context(socket.create_connection(listening.getsockname(), timeout=30))
        wait_until(queue.is_filling)
        queue.forget()
        assert not queue.is_filling()


def test_the_listener_looks_at_the_queue_of_its_server(listening: socket.socket) -> None:
    class Server:
        pass

    class Transport:
        def get_extra_info(self, name: str) -> object:
            return listening.getsockname() if name == "sockname" else None

    server = Server()
    found = listener.backlog_of(server, Transport())  # type: ignore[arg-type]  # no more is asked of them
    assert found is listener.backlog_of(server, Transport())  # type: ignore[arg-type]
    assert found._descriptors == [listening.fileno()]


def test_one_port_has_a_queue_for_each_of_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "LOOK_AGAIN_S", 0.0)
    sockets = backlog.listening("127.0.0.1", 0)
    assert len({one.getsockname() for one in sockets}) == 1
    with ExitStack() as stack:
        for one in sockets:
            stack.enter_context(closing(one)).listen(1000)
        queue = Backlog(sockets[0].getsockname()[1])
        monkeypatch.setattr(backlog, "FULL", 20 / 4000)
        for _ in range(20):
            stack.enter_context(socket.create_connection(sockets[0].getsockname(), timeout=30))
        assert not queue.is_filling()
        stack.enter_context(socket.create_connection(sockets[0].getsockname(), timeout=30))
        wait_until(queue.is_filling)
