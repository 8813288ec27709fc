"""What became of a burst, counted, and what must not be: the promise is an answer in time to every delivery.

Everything here is made of the senders' ledgers, of rows and of the broker's calls; nothing is read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from loadtests.burst.send.sender import DEDUPED
from loadtests.judge.bounds import TRUE, Check
from loadtests.judge.figures import percentile
from loadtests.judge.oracle import Finding, Verdict
from loadtests.traffic.ledger import Attempt, Delivery, Outcome
from loadtests.traffic.sender import TIMEOUT_S

IN_TIME_MS = 2500.0
GIVEN_UP_MS = TIMEOUT_S * 1000
BUSY = 503
ASKS_AT_MOST = {"WAITING": 0, "SENDING": 1}  # of an order that a fault has left behind
AT_BROKER = frozenset({"SENT", "OPEN", "EXECUTED"})

PROMISE = "TradingView gives up after 3 s and does not send again: 2xx or 503 has to come within 2.5 s."
AGAIN = "Each of the four attempts was refused: the alert is gone, although every answer was honest."
WRITER = "A sender or a command that ends early has judged nothing."
UNSTORED = "What was answered 503 is sent again; a row of the refused attempt would be an order too many."
ONCE = "One signal is one order at the broker: none is sent twice, none is forgotten."


@dataclass(frozen=True)
class Tally:
    """Counts of deliveries; times in milliseconds.

    `in_time`: 2xx at the first attempt within 2.5 s, and `p50` to `worst` their times; `refused`: answered 503 at
    least once; `other_5xx`: another 5xx answer; `taken_later`: acknowledged after a resend; `late`: an answer after
    more than 2.5 s; `unanswered`: an attempt without an answer; `cut`: one of them whose connection could not be
    made or ended before the answer, `longest`: the longest time of any attempt; `given_up`: refused four times;
    `unanswered_stored`: unanswered to the end, but stored; `stored_though_refused`: a 503 whose attempt stored.
    """

    deliveries: int
    in_time: int
    p50: float
    p99: float
    worst: float
    refused: int
    other_5xx: int
    taken_later: int
    late: int
    unanswered: int
    cut: int
    longest: float
    given_up: int
    unanswered_stored: int
    stored_though_refused: int
    cut_off: int


def tally(deliveries: Sequence[Delivery], stored: Set[str], *, kills: bool = False) -> Tally:
    """Count what the senders know.

    Args:
        stored: markers that have rows on the primary.
        kills: whether processes were killed: a connection that they have cut does not count as unanswered.
    """
    times = [d.attempts[0].ms for d in deliveries if _taken_at_once(d)]
    count: Counter[str] = Counter()
    for one in deliveries:
        statuses = [attempt.status for attempt in one.attempts]
        acknowledged = one.outcome is Outcome.ACKNOWLEDGED
        count["refused"] += BUSY in statuses
        count["other_5xx"] += any(s is not None and 500 <= s < 600 and s != BUSY for s in statuses)
        count["taken_later"] += acknowledged and len(statuses) > 1
        count["late"] += any(a.status is not None and a.ms > IN_TIME_MS for a in one.attempts)
        count["unanswered"] += any(a.status is None and not (kills and _is_cut(a)) for a in one.attempts)
        count["cut"] += any(map(_is_cut, one.attempts))
        count["given_up"] += one.outcome is Outcome.FAILED
        count["unanswered_stored"] += statuses[-1:] == [None] and one.marker in stored
        count["cut_off"] += one.outcome is Outcome.CUT_OFF
        # A copy that finds its order there, although every earlier attempt was told to come again.
        earlier = statuses[:-1]
        count["stored_though_refused"] += (
            acknowledged and one.why == DEDUPED and bool(earlier) and set(earlier) == {BUSY}
        )
        count["stored_though_refused"] += one.outcome is Outcome.FAILED and one.marker in stored
    return Tally(
        deliveries=len(deliveries),
        in_time=sum(ms <= IN_TIME_MS for ms in times),
        p50=percentile(times, 0.5),
        p99=percentile(times, 0.99),
        worst=max(times, default=0.0),
        longest=max((a.ms for one in deliveries for a in one.attempts), default=0.0),
        **{name: count[name] for name in Tally.__annotations__ if name in _COUNTED},
    )


_COUNTED = frozenset(
    {"refused", "other_5xx", "taken_later", "late", "unanswered", "cut", "given_up", "unanswered_stored"}
    | {"stored_though_refused", "cut_off"}
)


def _is_cut(attempt: Attempt) -> bool:
    return attempt.status is None and attempt.ms < GIVEN_UP_MS


def _taken_at_once(delivery: Delivery) -> bool:
    first = delivery.attempts[0].status if delivery.attempts else None
    return first is not None and 200 <= first < 300


@dataclass(frozen=True)
class AtBroker:
    """What became of the AUTO orders. `open`: left behind by a fault, and nobody has looked at them yet."""

    orders: int
    placed: int
    refused: int
    put_aside: int
    findings: tuple[Finding, ...]
    open: int = 0


def at_broker(
    orders: Iterable[Mapping[str, Any]], calls: Iterable[Mapping[str, Any]], *, may_be_open: bool = False
) -> AtBroker:
    """Hold each order against the broker's calls.

    Args:
        orders: rows of the AUTO signals on the primary.
        calls: of the fake broker; those for orders of other runs are left out by their key.
        may_be_open: whether a fault may have left orders behind that a backend settles within minutes.
    """
    orders = list(orders)
    keys = {order["client_order_id"] for order in orders}
    by_order: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for call in calls:
        if call["key"] in keys:
            by_order[call["order_id"]].append(call)
    findings: list[Finding] = []
    count: Counter[str] = Counter()
    for order in orders:
        asked = by_order.pop(order["id"], [])
        placed = sum(call["placed"] for call in asked)
        kind, wrong = _judged(order, len(asked), placed, may_be_open=may_be_open)
        count[kind] += 1
        if wrong:
            told = f"{order['status']}, {len(asked)} calls, {placed} placed"
            findings.append(Finding(wrong, "broker", str(order["client_order_id"]), told))
    for order_id, asked in by_order.items():
        findings.append(Finding("different", "broker", str(order_id), f"{len(asked)} calls, no such order"))
    return AtBroker(
        len(orders), count["placed"], count["refused"], count["put_aside"], tuple(findings), count["open"]
    )


def _judged(order: Mapping[str, Any], asked: int, placed: int, *, may_be_open: bool) -> tuple[str, str]:
    """What the order is, and what kind of finding it is; '' for none."""
    is_open = order["mode"] == "AUTO" and not order["error_message"] and order["status"] in ASKS_AT_MOST
    if may_be_open and is_open:
        return "open", "doubled" if asked > ASKS_AT_MOST[order["status"]] else ""
    if order["status"] in AT_BROKER:
        kind, right = "placed", (1, 1)
    elif order["status"] == "FAILED" and asked:
        kind, right = "refused", (1, 0)
    else:
        kind, right = "put_aside", (0, 0)
    if asked > right[0]:
        return kind, "doubled" if asked > 1 else "called but not noted"
    if (asked, placed) != right:
        return kind, "lost"
    # An order that nobody sent and nobody put aside waits for ever.
    forgotten = kind == "put_aside" and order["mode"] == "AUTO" and not order["error_message"]
    return kind, "forgotten" if forgotten else ""


def checks(
    counted: Tally, verdict: Verdict, broker: AtBroker, failed_writers: int, *, answered: bool
) -> Iterator[Check]:
    """What must not be. `answered` false: beyond the limit, where only what was stored is judged."""
    yield Check("writers that failed", failed_writers + counted.cut_off, 0, "", WRITER)
    yield Check("lost", verdict.count("lost"), 0, "", TRUE)
    yield Check("doubled", verdict.count("doubled"), 0, "", TRUE)
    yield Check("altered", verdict.count("different"), 0, "", TRUE)
    yield Check("refused but stored", counted.stored_though_refused, 0, "", UNSTORED)
    yield Check("orders and broker calls that differ", len(broker.findings), 0, "", ONCE)
    if answered:
        yield Check("answered late", counted.late, 0, "", PROMISE)
        yield Check("unanswered", counted.unanswered, 0, "", PROMISE)
        yield Check("given up after four refusals", counted.given_up, 0, "", AGAIN)
