"""Figures from what the senders recorded: percentiles, and how long a switch made writers wait."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from loadtests.traffic.ledger import Attempt, Delivery, Outcome

AROUND_S = 0.25  # a wait that a switch caused may end shortly after it


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed; 0.0 of nothing."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Latency:
    """Answer times of a stretch, in milliseconds."""

    p50: float
    p99: float
    worst: float


def latency(deliveries: Sequence[Delivery], since: float, until: float) -> Latency:
    """Of the attempts that began in a stretch of time (seconds since the epoch)."""
    times = [attempt.ms for attempt in _attempts(deliveries) if since <= attempt.at < until]
    return Latency(
        percentile(times, 0.5),
        percentile(times, 0.99),
        max(times, default=0.0),
    )


@dataclass(frozen=True)
class Pause:
    """What writers noticed of a switch, in milliseconds.

    `gap`: the longest time without an acknowledged delivery; `wait`: the longest wait for an answer.
    """

    gap: float
    wait: float


def pause(deliveries: Sequence[Delivery], since: float, until: float) -> Pause:
    """Of a switch that began and ended at these times (seconds since the epoch)."""
    until += AROUND_S
    answers = sorted(
        attempt.at + attempt.ms / 1000
        for delivery in deliveries
        if delivery.outcome is Outcome.ACKNOWLEDGED
        for attempt in delivery.attempts[-1:]
    )
    gaps = [b - a for a, b in pairwise(answers) if b > since and a < until]
    waits = [a.ms for a in _attempts(deliveries) if a.at < until and a.at + a.ms / 1000 > since]
    return Pause(max(gaps, default=0.0) * 1000, max(waits, default=0.0))


def _attempts(deliveries: Iterable[Delivery]) -> Iterable[Attempt]:
    return (attempt for delivery in deliveries for attempt in delivery.attempts)
