"""Line charts over time as inline SVG: no script, no font, nothing to fetch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 960, 190
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 26, 26
COLOURS = ("#1f6feb", "#d1712b", "#c02a3d", "#2f8f5b", "#7a4fc0")


@dataclass(frozen=True)
class Series:
    """A named line. Points are (seconds, value); None breaks the line."""

    name: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Mark:
    """A stretch of time, drawn behind the lines with its name. `strong`: writers were held."""

    name: str
    begin: float
    end: float
    strong: bool = False


def chart(title: str, unit: str, series: Sequence[Series], marks: Sequence[Mark], seconds: float) -> str:
    """One chart from 0 to `seconds`, its vertical axis from 0 to a round number above the highest value."""
    values = [value for line in series for _, value in line.points if value is not None]
    top = round_up(max(values, default=1.0))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text x="{LEFT}" y="15" class="title">{escape(title)}</text>',
        *(_mark(mark, seconds) for mark in marks),
        *_vertical_axis(top, unit),
        *_time_axis(seconds),
        *(_line(line, colour, seconds, top) for line, colour in zip(series, COLOURS, strict=False)),
        *_legend(series),
        "</svg>",
    ]
    return "".join(parts)


def round_up(value: float) -> float:
    """The next of 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def _x(at: float, seconds: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max(at / max(seconds, 1e-9), 0.0), 1.0)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value / top, 1.0)


def _mark(mark: Mark, seconds: float) -> str:
    left, right = _x(mark.begin, seconds), _x(mark.end, seconds)
    kind = "switch" if mark.strong else "phase"
    return (
        f'<g class="{kind}"><title>{escape(mark.name)}</title>'
        f'<rect x="{left:.1f}" y="{TOP}" width="{max(right - left, 1.5):.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
        f'<text x="{left + 3:.1f}" y="{TOP + 10}">{escape(mark.name)}</text></g>'
    )


def _vertical_axis(top: float, unit: str) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _y(top * share, top)
        label = f"{top * share:g}{' ' + unit if share == 1.0 else ''}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="axis" text-anchor="end">{escape(label)}</text>'
        )
    return parts


def _time_axis(seconds: float) -> list[str]:
    step = round_up(seconds / 10)
    return [
        f'<text x="{_x(n * step, seconds):.1f}" y="{HEIGHT - 8}" class="axis" text-anchor="middle">'
        f"{n * step:g} s</text>"
        for n in range(int(seconds / step) + 1)
    ]


def _line(line: Series, colour: str, seconds: float, top: float) -> str:
    path, pen = [], "M"
    for at, value in line.points:
        if value is None:
            pen = "M"
            continue
        path.append(f"{pen}{_x(at, seconds):.1f} {_y(value, top):.1f}")
        pen = "L"
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _legend(series: Sequence[Series]) -> list[str]:
    parts, x = [], WIDTH - RIGHT
    for line, colour in reversed(list(zip(series, COLOURS, strict=False))):
        parts.append(
            f'<text x="{x}" y="15" class="axis" text-anchor="end" style="fill:{colour}">&#9644; '
            f"{escape(line.name)}</text>"
        )
        x -= 9 * len(line.name) + 26
    return parts
