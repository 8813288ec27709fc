"""One HTML file that shows a run: verdict, bounds, and what happened over time, phases marked.

Self-contained: styles and drawings are in the file, so that it can be mailed or kept with a build.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from loadtests.figures import percentile
from loadtests.ledger import Delivery, Outcome
from loadtests.story import shown
from loadtests.svg import Mark, Series, chart
from loadtests.watch import Sample

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #66707d; --line: #d9dee5; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --dim: #98a2b0; --line: #333c48; --paper: #12161c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } p { margin: .3rem 0 1rem; color: var(--dim); }
.ok { color: #2f8f5b; font-weight: 600; } .no { color: #c02a3d; font-weight: 600; }
table { border-collapse: collapse; margin: 1rem 0 1.5rem; } td { padding: .2rem 1.2rem .2rem 0; }
td + td { text-align: right; font-variant-numeric: tabular-nums; } tr { border-bottom: 1px solid var(--line); }
svg { width: 100%; height: auto; margin: .4rem 0; } svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg .title { font-size: 13px; font-weight: 600; } svg .axis { fill: var(--dim); } svg .grid { stroke: var(--line); }
svg .phase rect { fill: #1f6feb; opacity: .07; } svg .switch rect { fill: #c02a3d; opacity: .22; }
svg .phase text, svg .switch text { font-size: 9.5px; fill: var(--dim); }
"""

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


def charts(
    deliveries: Sequence[Delivery], samples: Sequence[Sample], marks: Sequence[Mark], began: float
) -> list[str]:
    """Throughput, answer times, gaps between acknowledgements, and lag; times relative to `began`."""
    attempts = [attempt for delivery in deliveries for attempt in delivery.attempts]
    ends = [attempt.at + attempt.ms / 1000 - began for attempt in attempts]
    seconds = max([*ends, *(mark.end for mark in marks), 1.0])
    answered = [(end, attempt.ms) for end, attempt in zip(ends, attempts, strict=True)]
    acknowledged = sorted(
        delivery.attempts[-1].at + delivery.attempts[-1].ms / 1000 - began
        for delivery in deliveries
        if delivery.outcome is Outcome.ACKNOWLEDGED
    )
    gaps = [(b, (b - a) * 1000) for a, b in pairwise(acknowledged)]
    lag = [(sample.at - began, sample.lag_seconds * 1000) for sample in samples]
    behind = [(sample.at - began, float(sample.lag_changes)) for sample in samples]
    width = max(0.5, seconds / 240)

    def share(part: float) -> Bucket:
        return lambda values: percentile(values, part) if values else None

    def rate(values: list[float]) -> float:
        return len(values) / width

    def most(values: list[float]) -> float | None:
        return max(values, default=None)

    sent = [(attempt.at - began, 1.0) for attempt in attempts]
    told = [(at, 1.0) for at in acknowledged]
    return [
        chart(
            "Webhooks",
            "/s",
            [
                Series("sent", per_bucket(sent, seconds, width, rate)),
                Series("acknowledged", per_bucket(told, seconds, width, rate)),
            ],
            marks,
            seconds,
        ),
        chart(
            "Answer times",
            "ms",
            [
                Series("median", per_bucket(answered, seconds, width * 2, share(0.5))),
                Series("p95", per_bucket(answered, seconds, width * 2, share(0.95))),
                Series("worst", per_bucket(answered, seconds, width * 2, most)),
            ],
            marks,
            seconds,
        ),
        chart(
            "Longest time between two acknowledged webhooks (the pause of a switch shows here)",
            "ms",
            [Series("gap", per_bucket(gaps, seconds, width, most))],
            marks,
            seconds,
        ),
        chart(
            "Lag of the shadow: age of its oldest missing change",
            "ms",
            [Series("lag", per_bucket(lag, seconds, width, most))],
            marks,
            seconds,
        ),
        chart(
            "Lag of the shadow: changes",
            "",
            [Series("changes", per_bucket(behind, seconds, width, most))],
            marks,
            seconds,
        ),
    ]


def page(
    title: str, note: str, problems: Sequence[str], rows: Iterable[tuple[str, Any]], drawings: Sequence[str]
) -> str:
    """The whole file. `problems`: what went beyond its bound; none means that the run held."""
    verdict = '<span class="ok">held</span>' if not problems else '<span class="no">did not hold</span>'
    listed = "".join(f'<p class="no">{escape(problem)}</p>' for problem in problems)
    table = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(shown(value))}</td></tr>" for name, value in rows
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}: {verdict}</h1><p>{escape(note)}</p>{listed}"
        f"<table>{table}</table>{''.join(drawings)}</body></html>\n"
    )


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """A nested mapping as rows for `page`."""
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        label = f"{prefix} {name}".strip().replace("_", " ")
        rows += flat(value, label) if isinstance(value, Mapping) else [(label, value)]
    return rows
