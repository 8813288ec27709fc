"""TradingView, as the backend sees it: deliveries at a steady rate, resent by TradingView's own rules.

The schedule is open: a delivery leaves when it is due, however slow the answers to earlier ones are, so
that a pause shows in full instead of thinning out the load. Rules of resending: an answer of 5xx other
than 504 is sent again, at most three times; no answer within three seconds ends the delivery, and
nothing is sent again, because it may have arrived. A connection that was never made is treated like 5xx.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from loadtests.stage.thread import Stoppable
from loadtests.traffic.ledger import Attempt, Delivery, Ledger, Outcome
from loadtests.traffic.shapes import Shape, Signal
from loadtests.traffic.signals import Signals
from loadtests.traffic.wire import Answer, NoAnswer, NotSent, request

PATH = "/webhook/tradingview"
TIMEOUT_S = 3.0
RESENDS = 3
RESEND_DELAY_S = 1.0  # TradingView waits 5 s; shorter here, so that a short run sees the resends too


def sent_again(attempt: Attempt) -> bool:
    """Whether TradingView sends a delivery again after this attempt."""
    if attempt.status is None:
        return not attempt.sent
    return 500 <= attempt.status < 600 and attempt.status != 504


def may_have_stored(attempt: Attempt) -> bool:
    """Whether an attempt that was not acknowledged may have left rows: 503 says that it has not."""
    if attempt.status is None:
        return attempt.sent
    return attempt.status >= 500 and attempt.status != 503


class Sender(Stoppable):
    """Sends a stream of signals from a thread of its own.

    Args:
        signals: what to send.
        secret: the webhook secret.
        ledger: where every outcome goes.
        target: port on 127.0.0.1; `target` may be set while the sender runs.
        rate: deliveries per second; may be set while the sender runs.
        resend_delay_s: pause before a resend.
    """

    def __init__(
        self,
        signals: Signals,
        secret: str,
        ledger: Ledger,
        *,
        target: int,
        rate: float,
        resend_delay_s: float = RESEND_DELAY_S,
    ) -> None:
        super().__init__("sender")
        self.target = target
        self.rate = rate
        self.deliveries: list[Delivery] = []
        self._signals = signals
        self._secret = secret
        self._ledger = ledger
        self._resend_delay_s = resend_delay_s

    def carries(self, seconds: float, clients: int = 8) -> float:
        """Deliveries per second that the target acknowledges to so many clients; before `start` only."""
        before = len(self.deliveries)
        asyncio.run(self._send_closed(time.monotonic() + seconds, clients))
        return (len(self.deliveries) - before) / seconds

    def _run(self) -> None:
        asyncio.run(self._send_all())

    async def _send_all(self) -> None:
        running: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not self._stopping.is_set():
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            signal, shape = self._signals.next()
            task = asyncio.create_task(self._deliver(signal, shape, due))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def _send_closed(self, until: float, clients: int) -> None:
        """Each client sends its next delivery when its last one is answered."""

        async def client() -> None:
            while time.monotonic() < until:
                await self._deliver(*self._signals.next(), time.monotonic())

        await asyncio.gather(*(client() for _ in range(clients)))

    async def _deliver(self, signal: Signal, shape: Shape, due: float) -> None:
        self._ledger.begin(signal.marker, shape.name, shape.expected(signal))
        delivery = await deliver(
            signal, shape, self._secret, lambda: self.target, due, resend_delay_s=self._resend_delay_s
        )
        self.deliveries.append(delivery)
        self._ledger.write(delivery)


async def deliver(
    signal: Signal,
    shape: Shape,
    secret: str,
    target: Callable[[], int],
    due: float,
    *,
    resend_delay_s: float = RESEND_DELAY_S,
    timeout_s: float = TIMEOUT_S,
) -> Delivery:
    """Deliver one signal by the rules above; `due` is a monotonic time."""
    wire = shape.write(signal, secret)
    headers = {"Content-Type": wire.content_type, **wire.headers}
    attempts: list[Attempt] = []
    while True:
        attempt, answer, why = await _attempt(target(), wire.body, headers, timeout_s)
        attempts.append(attempt)
        if len(attempts) > RESENDS or not sent_again(attempt):
            break
        await asyncio.sleep(resend_delay_s)
    late_ms = (time.monotonic() - due) * 1000
    return conclude(signal, shape, tuple(attempts), late_ms, answer, why)


async def _attempt(
    port: int, body: bytes, headers: Mapping[str, str], timeout_s: float
) -> tuple[Attempt, Answer | None, str | None]:
    at, started = time.time(), time.monotonic()
    answer, why, sent = None, None, True
    try:
        answer = await request(port, "POST", PATH, body, headers, timeout_s)
    except NotSent as error:
        why, sent = str(error), False
    except NoAnswer as error:
        why = str(error)
    status = None if answer is None else answer.status
    return Attempt(at, (time.monotonic() - started) * 1000, status, sent), answer, why


def conclude(
    signal: Signal,
    shape: Shape,
    attempts: tuple[Attempt, ...],
    late_ms: float,
    answer: Answer | None,
    why: str | None = None,
) -> Delivery:
    """What the sender may conclude from all attempts and the last answer (None: there was none)."""
    told = answer.json() if answer is not None else {}
    if answer is not None and told.get("status") in ("accepted", "deduped"):
        return Delivery(
            signal.marker, shape.name, Outcome.ACKNOWLEDGED, attempts, late_ms, told.get("alert_id"),
            told.get("order_id"), shape.expected(signal),
        )  # fmt: skip
    if answer is not None:
        why = f"{answer.status}: {answer.body[:200].decode(errors='replace')}"
    if any(map(may_have_stored, attempts)):
        outcome = Outcome.UNKNOWN
    elif answer is not None and not sent_again(attempts[-1]):
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.FAILED
    return Delivery(
        signal.marker, shape.name, outcome, attempts, late_ms, expected=shape.expected(signal), why=why
    )
