"""TradingView as locust users: one delivery per second each, by the same rules as the demo's sender."""

from __future__ import annotations

import time

import gevent
from locust import FastHttpUser, task

from loadtests.traffic.ledger import Attempt, Delivery, merged
from loadtests.traffic.scenarios.shared import Paced, Shared
from loadtests.traffic.sender import PATH, RESEND_DELAY_S, RESENDS, TIMEOUT_S, conclude, sent_again
from loadtests.traffic.shapes import Shape, Signal
from loadtests.traffic.wire import Answer


class _Sender(Paced, FastHttpUser):
    """Sends deliveries. `shared` is set by the locustfile before any user starts."""

    abstract = True
    shared: Shared
    network_timeout = TIMEOUT_S
    connection_timeout = TIMEOUT_S
    max_retries = 0

    def next(self) -> tuple[Signal, Shape]:
        """The next signal to send, noted in the ledger.

        Locust kills users that wait; one whose wait has just ended is let go on and killed a turn of the
        event loop later. That turn is taken here, before anything is noted.
        """
        gevent.sleep(0)
        return self.shared.next()

    def attempt(self, signal: Signal, shape: Shape) -> tuple[Attempt, Answer | None]:
        """Send a signal once; locust counts a wrong status as a failure."""
        wire = shape.write(signal, self.shared.secret)
        headers = {"Content-Type": wire.content_type, "Connection": "close", **wire.headers}
        at, started = time.time(), time.monotonic()
        with self.client.post(
            PATH, data=wire.body, headers=headers, name=f"webhook: {shape.name}", catch_response=True
        ) as response:
            answer = Answer(response.status_code, response.content or b"") if response.status_code else None
            if answer is not None and answer.status == shape.status:
                response.success()
            else:
                response.failure(f"status {response.status_code}, {shape.status} was due")
        sent = answer is not None or not isinstance(response.error, ConnectionRefusedError)
        ms = (time.monotonic() - started) * 1000
        return Attempt(at, ms, None if answer is None else answer.status, sent), answer

    def deliver(self, signal: Signal, shape: Shape) -> Delivery:
        """Send a signal until it is answered for good, or given up."""
        attempts: list[Attempt] = []
        started = time.monotonic()
        while True:
            attempt, answer = self.attempt(signal, shape)
            attempts.append(attempt)
            if len(attempts) > RESENDS or not sent_again(attempt):
                break
            gevent.sleep(RESEND_DELAY_S)
        late_ms = (time.monotonic() - started) * 1000
        why = None if answer is not None else "no answer"
        return conclude(signal, shape, tuple(attempts), late_ms, answer, why)


class WebhookUser(_Sender):
    """An alert source that behaves."""

    @task
    def alert(self) -> None:
        """One delivery."""
        self.shared.ended(self.deliver(*self.next()))


class ResendUser(_Sender):
    """An alert source that sends every delivery several times at once, as after an outage."""

    @task
    def storm(self) -> None:
        """All copies of one delivery; whatever any of them was told must be true of all."""
        signal, shape = self.next()
        copies = [gevent.spawn(self.deliver, signal, shape) for _ in range(self.shared.profile.copies)]
        gevent.joinall(copies, raise_error=True)
        self.shared.ended(merged([copy.value for copy in copies]))
