"""Draws a burst: arrivals, answers and refusals, who waits, and the backend's own queue, over its seconds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from loadtests.burst.run import Outcome
from loadtests.judge.outcome import Mark
from loadtests.show.report import STYLE
from loadtests.show.svg import Limit, Series, chart
from loadtests.traffic.ledger import Attempt

SLOT_S = 0.05
SHOWN_S = 30.0
_SIZE = re.compile(r'<svg viewBox="0 0 (\d+) (\d+)"')
# The report's colours in a file of its own, on light and on dark ground.
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#57606a}.title{font-size:13px;font-weight:600;fill:#24292f}"
    ".grid{stroke:#d9dee5}.limit{stroke:#57606a;stroke-dasharray:5 4}"
    "@media(prefers-color-scheme:dark){text{fill:#9aa4b0}.title{fill:#e6edf3}.grid{stroke:#333c48}}"
)
Points = list[tuple[float, float | None]]


def per_slot(moments: Iterable[float], until: float) -> Points:
    """How many moments (seconds since the begin) lie in each slot."""
    count = Counter(int(moment // SLOT_S) for moment in moments if 0 <= moment <= until)
    return [(slot * SLOT_S, float(count[slot])) for slot in range(int(until // SLOT_S) + 1)]


def waiting(stretches: Sequence[tuple[float, float]], until: float) -> Points:
    """How many attempts, each from its begin to its end, are under way at the end of each slot."""
    change: Counter[int] = Counter()
    for begin, end in stretches:
        change[int(begin // SLOT_S)] += 1
        change[int(end // SLOT_S)] -= 1
    level, points = 0, []
    for slot in range(int(until // SLOT_S) + 1):
        level += change[slot]
        points.append(((slot + 1) * SLOT_S, float(level)))
    return points


def drawings(name: str, outcome: Outcome) -> str:
    """Two charts of one burst, and one more of its answer times."""
    ended, until = _attempts(outcome)
    stretches = [stretch for _, stretch in ended]
    taken = [end for a, (_, end) in ended if a.status is not None and 200 <= a.status < 300]
    refused = [end for a, (_, end) in ended if a.status is not None and a.status >= 500]
    silent = [end for a, (_, end) in ended if a.status is None]
    marks = []
    if outcome.during:
        marks = [Mark(outcome.during["what"], outcome.during["from_s"], outcome.during["until_s"])]
        if outcome.during.get("switch_s") is not None:
            moment = outcome.during["switch_s"]
            pause = (outcome.during.get("pause_ms") or 0) / 1000
            marks.append(Mark("switch", moment - pause, moment, strong=True))
    flow = [
        Series("arrived", per_slot((begin for begin, _ in stretches), until)),
        Series("answered 2xx", per_slot(taken, until)),
        Series("answered 5xx", per_slot(refused, until)),
        Series("given up", per_slot(silent, until)),
    ]
    lines = [Series("waiting for an answer", waiting(stretches, until))]
    if outcome.queue:
        lines.append(Series("in the backend's line", list(outcome.queue)))
    return (
        chart(f"{name}: deliveries per {SLOT_S * 1000:.0f} ms", "", flow, marks, until)
        + chart(f"{name}: deliveries under way", "", lines, marks, until)
        + _answer_times(name, outcome, marks)
    )


def _attempts(outcome: Outcome) -> tuple[list[tuple[Attempt, tuple[float, float]]], float]:
    """Each attempt with its begin and end, seconds since the begin of the burst, and how long to draw."""
    attempts = [attempt for delivery in outcome.deliveries for attempt in delivery.attempts]
    stretches = [(a.at - outcome.began, a.at - outcome.began + a.ms / 1000) for a in attempts]
    until = min(SHOWN_S, max((end for _, end in stretches), default=1.0))
    return list(zip(attempts, stretches, strict=True)), until


def _answer_times(
    name: str, outcome: Outcome, marks: Sequence[Mark] = (), *, until: float | None = None
) -> str:
    ended, drawn_until = _attempts(outcome)
    kinds = {"taken": range(200, 300), "5xx, sent again": range(500, 600)}
    series = [
        Series(kind, [(end, a.ms) for a, (_, end) in ended if a.status in statuses], dots=True)
        for kind, statuses in kinds.items()
    ]
    silent = [(end, a.ms) for a, (_, end) in ended if a.status is None]
    series.append(Series("given up without an answer", silent, dots=True))
    return chart(
        f"{name}: answer times", "ms", series, marks, until or drawn_until, limit=Limit("2.5 s", 2500)
    )


def picture(named: Sequence[tuple[str, Outcome]]) -> str:
    """The answer times of several bursts, one below the other over the same seconds, as an SVG file."""
    until = max(_attempts(outcome)[1] for _, outcome in named)
    placed, y, width = [], 0, 0
    for name, outcome in named:
        drawn = _answer_times(name, outcome, until=until)
        found = _SIZE.match(drawn)
        assert found is not None
        width, height = int(found[1]), int(found[2])
        placed.append(drawn.replace("<svg ", f'<svg y="{y}" width="{width}" height="{height}" ', 1))
        y += height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" role="img" '
        f'aria-label="Answer times of bursts"><style>{_STYLE}</style>{"".join(placed)}</svg>\n'
    )


def page(rows: Sequence[Mapping[str, Any]], table: str, drawn: Sequence[str]) -> str:
    """The report: one HTML file without scripts."""
    told = "".join(
        f'<p class="no">{escape(row["name"])}: {escape(problem)}</p>'
        for row in rows
        for problem in row["problems"]
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Bursts</title><style>{STYLE}</style>'
        f"<h1>All alerts of a closing bar</h1><pre>{escape(table)}</pre>{told}{''.join(drawn)}</html>"
    )
