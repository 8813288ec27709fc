"""The drawings of a load run's report: what happened over time, and each switch from near."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from loadtests.judge.figures import percentile
from loadtests.judge.outcome import Mark
from loadtests.judge.watch import Sample
from loadtests.show.svg import Limit, Series, chart
from loadtests.traffic.ledger import Delivery, Outcome
from loadtests.traffic.profiles import Bounds

CLOSE_UP_S = 1.5

Bucket = Callable[[list[float]], float | None]


def per_bucket(
    points: Iterable[tuple[float, float]], seconds: float, width: float, value: Bucket
) -> list[tuple[float, float | None]]:
    """One value for each stretch of `width` seconds, at its middle.

    Args:
        points: (seconds, value); those outside of 0 to `seconds` are left out.
        value: makes one value out of those of a stretch; an empty list for a stretch without any.
    """
    buckets: dict[int, list[float]] = defaultdict(list)
    for at, number in points:
        if 0 <= at < seconds:
            buckets[int(at / width)].append(number)
    return [((n + 0.5) * width, value(buckets[n])) for n in range(math.ceil(seconds / width))]


def share(part: float) -> Bucket:
    """The value that so many of a stretch do not exceed."""
    return lambda values: percentile(values, part) if values else None


def most(values: list[float]) -> float | None:
    """The highest value of a stretch."""
    return max(values, default=None)


def charts(
    deliveries: Sequence[Delivery],
    samples: Sequence[Sample],
    marks: Sequence[Mark],
    began: float,
    bounds: Bounds,
) -> list[str]:
    """Throughput, answer times, gaps between acknowledgements, and lag; times relative to `began`."""
    attempts = [attempt for delivery in deliveries for attempt in delivery.attempts]
    answered = [(attempt.at + attempt.ms / 1000 - began, attempt.ms) for attempt in attempts]
    seconds = max([*(end for end, _ in answered), *(mark.end for mark in marks), 1.0])
    acknowledged = sorted(
        delivery.attempts[-1].at + delivery.attempts[-1].ms / 1000 - began
        for delivery in deliveries
        if delivery.outcome is Outcome.ACKNOWLEDGED
    )
    gaps = [(b, (b - a) * 1000) for a, b in pairwise(acknowledged)]
    lag = [(sample.at - began, sample.lag_seconds * 1000) for sample in samples]
    behind = [(sample.at - began, float(sample.lag_changes)) for sample in samples]
    width = max(0.5, seconds / 240)

    def line(name: str, points: Iterable[tuple[float, float]], value: Bucket, times: int = 1) -> Series:
        return Series(name, per_bucket(points, seconds, width * times, value))

    def rate(values: list[float]) -> float:
        return len(values) / width

    def over_time(title: str, unit: str, series: Sequence[Series], limit: Limit | None = None) -> str:
        return chart(title, unit, series, marks, seconds, limit=limit)

    sent = [(attempt.at - began, 1.0) for attempt in attempts]
    told = [(at, 1.0) for at in acknowledged]
    slow, late = bounds.p99_ms, bounds.lag_p99_ms
    return [
        over_time("Webhooks per second", "/s", [line("sent", sent, rate), line("acknowledged", told, rate)]),
        over_time(
            "Answer times of webhooks",
            "ms",
            [
                line("median", answered, share(0.5), 2),
                line("p95", answered, share(0.95), 2),
                line("worst", answered, most, 2),
            ],
            Limit(f"bound of the p99: {slow:,g} ms", slow),
        ),
        over_time("Longest time between two acknowledged webhooks", "ms", [line("gap", gaps, most)]),
        over_time(
            "Lag of the shadow: age of its oldest missing change",
            "ms",
            [line("median", lag, share(0.5)), line("highest", lag, most)],
            Limit(f"bound of the p99: {late:,g} ms", late),
        ),
        over_time("Lag of the shadow: changes it lacks", "", [line("highest", behind, most)]),
    ]


def close_ups(
    deliveries: Sequence[Delivery], samples: Sequence[Sample], marks: Sequence[Mark], began: float
) -> list[str]:
    """Each switch with the webhooks around it, one dot per answer at the moment when it was given, and the lag."""
    answered = [
        (attempt.at + attempt.ms / 1000 - began, attempt.ms)
        for delivery in deliveries
        for attempt in delivery.attempts
    ]
    lag = [(sample.at - began, sample.lag_seconds * 1000) for sample in samples]
    drawings = []
    for mark in (mark for mark in marks if mark.strong):
        since, until = mark.begin - CLOSE_UP_S, mark.end + CLOSE_UP_S
        series = [
            Series("answer, at its moment", _within(answered, since, until), dots=True),
            Series("lag of the shadow", _within(lag, since, until)),
        ]
        drawings.append(chart(f"Around {mark.name}", "ms", series, [mark], until, since=since))
    return drawings


def _within(
    points: Sequence[tuple[float, float]], since: float, until: float
) -> list[tuple[float, float | None]]:
    return [(at, value) for at, value in points if since <= at <= until]
