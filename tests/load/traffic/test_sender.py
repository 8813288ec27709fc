"""The sender resends by TradingView's rules, and concludes no more than it was told."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Sequence

import pytest

from loadtests.traffic.ledger import Attempt, Delivery, Outcome
from loadtests.traffic.payloads import SHAPES
from loadtests.traffic.sender import RESENDS, conclude, deliver, may_have_stored, sent_again
from loadtests.traffic.signals import Signals
from loadtests.traffic.wire import Answer

ACCEPTED = json.dumps({"status": "accepted", "alert_id": 5, "order_id": 6}).encode()
SILENT, BROKEN = 0, -1


def delivered(answers: Sequence[int]) -> tuple[Delivery, int]:
    """Deliver one signal to a server that answers with these statuses in turn; returns requests seen too.

    SILENT: no answer; BROKEN: the connection is closed after the request was read.
    """
    seen = 0
    handlers: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        handler = asyncio.current_task()
        assert handler is not None
        handlers.append(handler)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
        await reader.readexactly(int(length))
        status = answers[min(seen, len(answers) - 1)]
        seen += 1
        if status == SILENT:
            await reader.read(-1)  # until the sender gives up
        elif status != BROKEN:
            body = ACCEPTED if status == 201 else b"{}"
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()
        await writer.wait_closed()

    async def run() -> Delivery:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        signal = Signals("t", ["a"], seed=1).next()[0]
        due = time.monotonic()
        delivery = await deliver(
            signal, SHAPES[0], "s", lambda: port, due, resend_delay_s=0.001, timeout_s=0.2
        )
        await asyncio.gather(*handlers)
        server.close()
        await server.wait_closed()
        return delivery

    return asyncio.run(run()), seen


@pytest.mark.parametrize(
    ("answers", "outcome", "requests"),
    [
        ([201], Outcome.ACKNOWLEDGED, 1),
        ([503, 201], Outcome.ACKNOWLEDGED, 2),
        ([500, 503, 502, 201], Outcome.ACKNOWLEDGED, 4),
        ([503], Outcome.FAILED, 1 + RESENDS),
        ([500], Outcome.UNKNOWN, 1 + RESENDS),
        ([503, 504], Outcome.UNKNOWN, 2),
        ([504], Outcome.UNKNOWN, 1),
        ([401], Outcome.REFUSED, 1),
        ([422], Outcome.REFUSED, 1),
        ([503, 400], Outcome.REFUSED, 2),
        ([SILENT], Outcome.UNKNOWN, 1),
        ([BROKEN], Outcome.UNKNOWN, 1),
    ],
)
def test_what_is_sent_again_and_what_is_concluded(
    answers: list[int], outcome: Outcome, requests: int
) -> None:
    delivery, seen = delivered(answers)
    assert (delivery.outcome, seen, len(delivery.attempts)) == (outcome, requests, requests)


def test_an_acknowledged_delivery_carries_the_ids_of_its_answer() -> None:
    delivery, _ = delivered([503, 201])
    assert (delivery.alert_id, delivery.order_id) == (5, 6)
    assert [attempt.status for attempt in delivery.attempts] == [503, 201]


def test_a_connection_that_was_never_made_is_tried_again_and_stored_nothing() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        port = closed.getsockname()[1]
        signal = Signals("t", ["a"], seed=1).next()[0]
        delivery = asyncio.run(
            deliver(signal, SHAPES[0], "s", lambda: port, time.monotonic(), resend_delay_s=0.001)
        )
    assert delivery.outcome is Outcome.FAILED
    assert len(delivery.attempts) == 1 + RESENDS
    assert not any(attempt.sent for attempt in delivery.attempts)


@pytest.mark.parametrize(
    ("status", "sent", "again", "stored"),
    [
        (200, True, False, False),
        (404, True, False, False),
        (500, True, True, True),
        (502, True, True, True),
        (503, True, True, False),
        (504, True, False, True),
        (None, True, False, True),
        (None, False, True, False),
    ],
)
def test_rules_of_one_attempt(status: int | None, sent: bool, again: bool, stored: bool) -> None:
    attempt = Attempt(0.0, 1.0, status, sent)
    assert (sent_again(attempt), may_have_stored(attempt)) == (again, stored)


def test_an_ignored_delivery_counts_as_refused_whatever_its_status() -> None:
    signal, _ = Signals("t", ["a"], seed=1).next()
    answer = Answer(201, b'{"status":"ignored","reason":"unknown_st_user_id"}')
    delivery = conclude(signal, SHAPES[0], (Attempt(0.0, 1.0, 201),), 1.0, answer)
    assert delivery.outcome is Outcome.REFUSED
