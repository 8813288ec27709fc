"""A way on which answers come late hands every byte on, in order, and nothing earlier than it says."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing

from loadtests.burst.meanwhile.late import LateAnswers


def _echo(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        while piece := connection.recv(65_536):
            connection.sendall(piece)


def _said(connection: socket.socket, size: int) -> bytes:
    heard = b""
    while len(heard) < size:
        heard += connection.recv(65_536)
    return heard


def test_answers_come_late_whole_and_in_order() -> None:
    asked = b"".join(b"%06d" % number for number in range(50_000))
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=_echo, args=(listening,), daemon=True).start()
        with LateAnswers(listening.getsockname()[1]) as late:
            connection = socket.create_connection(("127.0.0.1", late.port), timeout=30)
            late.delay_s = 0.2
            begun = time.monotonic()
            connection.sendall(b"one")
            assert _said(connection, 3) == b"one"
            assert time.monotonic() - begun >= 0.2
            late.delay_s = 0.0
            threading.Thread(target=connection.sendall, args=(asked,), daemon=True).start()
            assert _said(connection, len(asked)) == asked
        with connection:
            assert connection.recv(1) == b""  # it ends with the way
