"""The volley keeps the sender's rules, against a server that answers as each test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from loadtests.burst.send.volley import Volley, complete

BODY = b'{"status":"accepted"}'


def answer(status: int, body: bytes = BODY) -> bytes:
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


class Server:
    """Answers the n-th connection with what `reply` gives for n; None: it keeps silent; b'': it hangs up."""

    def __init__(self) -> None:
        self.reply: Callable[[int], bytes | None] = lambda n: answer(201)
        self.heard: list[bytes] = []
        self._silent: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.heard.append(connection.recv(65536))
            told = self.reply(len(self.heard))
            if told is None:
                self._silent.append(connection)
                continue
            connection.sendall(told)
            connection.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._silent:
            connection.close()
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as made:
        yield made


def send(server: Server, count: int = 1, *, timeout_s: float = 5.0, resend_cut: bool = False) -> Volley:
    volley = Volley(
        server.port,
        [b"m%d" % n for n in range(count)],
        [0.0] * count,
        timeout_s=timeout_s,
        resend_delay_s=0.01,
        resend_cut=resend_cut,
    )
    volley.run()
    return volley


def statuses(volley: Volley, number: int = 0) -> list[int | None]:
    return [attempt.status for attempt in volley.sent[number].attempts]


def test_each_message_goes_over_a_connection_of_its_own(server: Server) -> None:
    volley = send(server, 50)
    assert sorted(server.heard) == sorted(b"m%d" % n for n in range(50))
    assert {tuple(statuses(volley, n)) for n in range(50)} == {(201,)}
    told = volley.sent[0].answer
    assert told is not None
    assert told.body == BODY


def test_a_connection_that_a_killed_process_has_cut_is_sent_again_where_that_is_asked_for(
    server: Server,
) -> None:
    server.reply = lambda n: b"" if n < 3 else answer(201)
    assert statuses(send(server, resend_cut=True)) == [None, None, 201]


def test_silence_is_never_sent_again(server: Server) -> None:
    server.reply = lambda n: None
    assert statuses(send(server, timeout_s=0.05, resend_cut=True)) == [None]


def test_a_refusal_is_sent_again_until_it_is_taken(server: Server) -> None:
    server.reply = lambda n: answer(503 if n < 3 else 201)
    assert statuses(send(server)) == [503, 503, 201]


def test_a_refusal_is_sent_again_three_times_and_no_more(server: Server) -> None:
    server.reply = lambda n: answer(503)
    assert statuses(send(server)) == [503] * 4


@pytest.mark.parametrize("status", [504, 400, 401])
def test_some_answers_end_a_delivery(server: Server, status: int) -> None:
    server.reply = lambda n: answer(status)
    assert statuses(send(server)) == [status]


def test_silence_ends_a_delivery_and_counts_as_sent(server: Server) -> None:
    server.reply = lambda n: None
    volley = send(server, timeout_s=0.2)
    assert statuses(volley) == [None]
    (attempt,) = volley.sent[0].attempts
    assert attempt.sent
    assert attempt.ms >= 200


def test_a_connection_that_ends_early_is_no_answer(server: Server) -> None:
    server.reply = lambda n: answer(201)[:-1]
    volley = send(server)
    assert statuses(volley) == [None]
    assert "ended before" in (volley.sent[0].why or "")


def test_nobody_there_is_known_as_not_sent_and_tried_again() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    volley = Volley(port, [b"m"], [0.0], resend_delay_s=0.01)
    volley.run()
    assert [(attempt.status, attempt.sent) for attempt in volley.sent[0].attempts] == [(None, False)] * 4


@pytest.mark.parametrize(
    ("heard", "found"),
    [
        (b"HTTP/1.1 201 x\r\ncontent-length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 201 x\r\ncontent-length: 3\r\n\r\nok", False),
        (b"HTTP/1.1 201 x\r\ncontent-length: 2\r\n", False),
        (b"", False),
    ],
)
def test_an_answer_is_complete_with_its_length(heard: bytes, found: bool) -> None:
    assert (complete(heard) is not None) is found
