"""Draws a burst: arrivals, answers and refusals, who waits, and the backend's own queue, over its seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from loadtests.burst.run import Outcome
from loadtests.judge.outcome import Mark
from loadtests.show.report import STYLE
from loadtests.show.svg import Limit, Series, chart

SLOT_S = 0.05
SHOWN_S = 30.0
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
    attempts = [attempt for delivery in outcome.deliveries for attempt in delivery.attempts]
    stretches = [(a.at - outcome.began, a.at - outcome.began + a.ms / 1000) for a in attempts]
    until = min(SHOWN_S, max((end for _, end in stretches), default=1.0))
    ended = list(zip(attempts, stretches, strict=True))
    taken = [end for a, (_, end) in ended if a.status is not None and 200 <= a.status < 300]
    refused = [end for a, (_, end) in ended if a.status is not None and a.status >= 500]
    silent = [end for a, (_, end) in ended if a.status is None]
    marks = []
    if outcome.during:
        marks = [Mark(outcome.during["command"], outcome.during["from_s"], outcome.during["until_s"])]
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
    dots = [(end, a.ms) for a, (_, end) in ended if a.status is not None]
    return (
        chart(f"{name}: deliveries per {SLOT_S * 1000:.0f} ms", "", flow, marks, until)
        + chart(f"{name}: deliveries under way", "", lines, marks, until)
        + chart(
            f"{name}: answer times", "ms", [Series("one answer", dots, dots=True)], marks, until,
            limit=Limit("2.5 s", 2500),
        )
    )  # fmt: skip


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
