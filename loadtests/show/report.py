"""One HTML file that shows a run: verdict, bounds beside what was measured, and what happened over time.

Self-contained: styles and drawings are in the file, so that it can be mailed or kept with a build.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from loadtests.judge.bounds import Check
from loadtests.judge.figures import percentile
from loadtests.judge.watch import Sample
from loadtests.show.lines import shown
from loadtests.show.svg import Limit, Mark, Series, chart
from loadtests.traffic.ledger import Delivery, Outcome
from loadtests.traffic.profiles import Bounds

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6572; --line: #d9dee5; --paper: #fff; --ok: #22774a;
  --no: #b91f33; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --dim: #a2acb9; --line: #333c48; --paper: #12161c;
  --ok: #5cc08a; --no: #ff7585; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; }
p { margin: .3rem 0 .6rem; color: var(--dim); }
.ok { color: var(--ok); font-weight: 600; } .no { color: var(--no); font-weight: 600; }
table { border-collapse: collapse; margin: .5rem 0 1.2rem; } th, td { padding: .2rem .9rem .2rem 0; text-align: left;
  vertical-align: top; } th { color: var(--dim); font-weight: 500; } tr { border-bottom: 1px solid var(--line); }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } td:first-child { min-width: 13rem; } .why { color: var(--dim); font-size: 13px; }
svg { width: 100%; height: auto; margin: .4rem 0; } svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg .title { font-size: 13px; font-weight: 600; } svg .axis { fill: var(--dim); } svg .grid { stroke: var(--line); }
svg .limit { stroke: var(--dim); stroke-dasharray: 5 4; }
svg .phase rect { fill: #3b82f6; opacity: .1; } svg .switch rect { fill: #d64559; opacity: .4; }
svg .phase text, svg .switch text { font-size: 10px; fill: var(--dim); } svg .switch text { fill: var(--no); }
"""
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


def page(
    title: str,
    notes: Sequence[str],
    problems: Sequence[str],
    checks: Sequence[Check],
    rows: Iterable[tuple[str, Any]],
    drawings: Mapping[str, Sequence[str]],
) -> str:
    """The whole file.

    Args:
        notes: lines below the title: why, and on what it was measured.
        problems: what else went wrong than a bound; with none, and every check held, the run held.
        checks: bounds and what was measured.
        rows: all figures.
        drawings: charts by heading.
    """
    held = not problems and all(check.held for check in checks)
    verdict = '<span class="ok">held</span>' if held else '<span class="no">did not hold</span>'
    return "".join(
        (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{STYLE}</style></head><body><h1>{escape(title)}: {verdict}</h1>",
            *(f"<p>{escape(note)}</p>" for note in notes),
            *(f'<p class="no">{escape(problem)}</p>' for problem in problems),
            _bounds(checks),
            *(f"<h2>{escape(name)}</h2>{''.join(charts)}" for name, charts in drawings.items()),
            _figures(rows),
            "</body></html>\n",
        )
    )


def _bounds(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    rows = "".join(
        f'<tr><td>{escape(check.what)}</td><td class="n">{escape(shown(check.measured))} {check.unit}</td>'
        f'<td class="n">{escape(shown(check.bound))} {check.unit}</td>'
        f'<td class="{"ok" if check.held else "no"}">{"held" if check.held else "broken"}</td>'
        f'<td class="why">{escape(check.reason)}</td></tr>'
        for check in checks
    )
    return (
        '<h2>Bounds</h2><table><tr><th>what</th><th class="n">measured</th><th class="n">at most</th><th></th>'
        f"<th>why this bound</th></tr>{rows}</table>"
    )


def _figures(rows: Iterable[tuple[str, Any]]) -> str:
    table = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{escape(shown(value))}</td></tr>' for name, value in rows
    )
    return f"<h2>Figures</h2><table>{table}</table>"


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """A nested mapping as rows for `page`; lists are left out."""
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        label = f"{prefix} {name}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            rows += flat(value, label)
        elif not isinstance(value, list):
            rows.append((label, value))
    return rows
