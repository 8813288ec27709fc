"""Charts over time as inline SVG: no script, no font, nothing to fetch. Names of phases stand in rows above
the drawing, as many as are needed for none to cover another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from loadtests.judge.outcome import Mark

WIDTH, PLOT = 960, 140
LEFT, RIGHT, HEAD, FOOT, ROW = 64, 12, 24, 36, 12
LETTER = 5.4  # width of one in the rows of names, on average
COLOURS = ("#3b82f6", "#d1712b", "#d64559", "#2f8f5b", "#8b63d6")


@dataclass(frozen=True)
class Series:
    """A named line, or dots. Points are (seconds, value); None breaks the line."""

    name: str
    points: Sequence[tuple[float, float | None]]
    dots: bool = False


@dataclass(frozen=True)
class Limit:
    """A horizontal line: what the values, or most of them, must not exceed."""

    name: str
    value: float


@dataclass(frozen=True)
class _Frame:
    """Where values are on the drawing."""

    since: float
    until: float
    top: float
    head: float

    @property
    def foot(self) -> float:
        return self.head + PLOT

    def x(self, at: float) -> float:
        share = (at - self.since) / max(self.until - self.since, 1e-9)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(share, 0.0), 1.0)

    def y(self, value: float) -> float:
        return self.foot - PLOT * min(value / self.top, 1.0)


def chart(
    title: str,
    unit: str,
    series: Sequence[Series],
    marks: Sequence[Mark],
    seconds: float,
    *,
    since: float = 0.0,
    limit: Limit | None = None,
) -> str:
    """One chart from `since` to `seconds`, its vertical axis from 0 to a round number above all values."""
    values = [value for line in series for _, value in line.points if value is not None]
    seen = [mark for mark in marks if mark.end >= since and mark.begin <= seconds]
    rows = _rows(seen, _Frame(since, seconds, 1.0, 0.0))
    head = HEAD + ROW * (max(rows, default=-1) + 1) + 4
    frame = _Frame(
        since, seconds, round_up(max([*values, *([limit.value] if limit else [])], default=1.0)), head
    )
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {frame.foot + FOOT:.0f}" role="img" aria-label="{escape(title)}">',
        f'<text x="{LEFT}" y="15" class="title">{escape(title)}</text>',
        *(_mark(mark, row, frame) for mark, row in zip(seen, rows, strict=True)),
        *_vertical_axis(frame, unit),
        *_time_axis(frame),
        *(_limit(limit, frame) if limit else []),
        *(_draw(line, colour, frame) for line, colour in zip(series, COLOURS, strict=False)),
        *_legend(series, limit),
        "</svg>",
    ]
    return "".join(parts)


def round_up(value: float) -> float:
    """The next of 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def _label_x(mark: Mark, frame: _Frame) -> float:
    """Where a name begins: with its stretch, but never beyond the right edge."""
    return min(frame.x(mark.begin), WIDTH - RIGHT - LETTER * len(mark.name))


def _rows(marks: Sequence[Mark], frame: _Frame) -> list[int]:
    """A row for each name, so that no two names in a row touch."""
    ends: list[float] = []
    rows = []
    for mark in marks:
        left = _label_x(mark, frame)
        row = next((n for n, end in enumerate(ends) if end <= left), len(ends))
        ends[row:] = [left + LETTER * len(mark.name) + 8, *ends[row + 1 :]]
        rows.append(row)
    return rows


def _mark(mark: Mark, row: int, frame: _Frame) -> str:
    left, right = frame.x(mark.begin), frame.x(mark.end)
    y = HEAD + ROW * (row + 1)
    kind = "switch" if mark.strong else "phase"
    return (
        f'<g class="{kind}"><title>{escape(mark.name)}: {mark.begin:.2f} s to {mark.end:.2f} s</title>'
        f'<rect x="{left:.1f}" y="{y + 3}" width="{max(right - left, 2):.1f}" height="{frame.foot - y - 3:.0f}"/>'
        f'<text x="{_label_x(mark, frame):.1f}" y="{y}">{escape(mark.name)}</text></g>'
    )


def _vertical_axis(frame: _Frame, unit: str) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = frame.y(frame.top * share)
        label = f"{frame.top * share:,g}{' ' + unit if share == 1.0 else ''}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="axis" text-anchor="end">{escape(label)}</text>'
        )
    return parts


def _time_axis(frame: _Frame) -> list[str]:
    step = round_up((frame.until - frame.since) / 10)
    first = math.ceil(frame.since / step - 1e-9)
    last = math.floor(frame.until / step + 1e-9)
    parts = [
        f'<text x="{frame.x(n * step):.1f}" y="{frame.foot + 15:.0f}" class="axis" text-anchor="middle">{n * step:g}</text>'
        for n in range(first, last + 1)
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{frame.foot + 30:.0f}" class="axis" text-anchor="middle">'
        "seconds since the load began</text>"
    )
    return parts


def _draw(line: Series, colour: str, frame: _Frame) -> str:
    shown = [(at, value) for at, value in line.points if frame.since <= at <= frame.until]
    if line.dots:
        return "".join(
            f'<circle cx="{frame.x(at):.1f}" cy="{frame.y(value):.1f}" r="2.2" fill="{colour}"/>'
            for at, value in shown
            if value is not None
        )
    path, pen = [], "M"
    for at, value in shown:
        if value is None:
            pen = "M"
            continue
        path.append(f"{pen}{frame.x(at):.1f} {frame.y(value):.1f}")
        pen = "L"
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _limit(limit: Limit, frame: _Frame) -> list[str]:
    y = frame.y(limit.value)
    return [f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>']


def _legend(series: Sequence[Series], limit: Limit | None) -> list[str]:
    entries = [
        (f"&#9632; {escape(line.name)}", f"fill:{c}") for line, c in zip(series, COLOURS, strict=False)
    ]
    if limit:
        entries.append((f"&#9476; {escape(limit.name)}", ""))
    parts, x = [], float(WIDTH - RIGHT)
    for text, style in reversed(entries):
        parts.append(
            f'<text x="{x:.0f}" y="15" class="axis" text-anchor="end"{f" style={chr(34)}{style}{chr(34)}" if style else ""}>'
            f"{text}</text>"
        )
        x -= 6.2 * (len(text) - 6) + 14
    return parts
