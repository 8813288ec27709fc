"""Bar charts of one part as SVG: the median as a bar, the range as a line across its end."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import Any

from loadtests.show.tables import number

Json = dict[str, Any]
WIDTH, LEFT, RIGHT, BAR, GAP, HEAD = 820, 250, 130, 16, 6, 30
COLOURS = ("#1f6feb", "#8b98a9")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#57606a}.head{font-weight:600;fill:#24292f}"
    "@media(prefers-color-scheme:dark){text{fill:#9aa4b0}.head{fill:#e6edf3}}"
)


def plot(part: Json) -> str:
    """All groups of a part, one panel for each quantity."""
    body: list[str] = []
    y = 10
    for (group, quantity), figures in _panels(part["figures"]):
        body.append(f'<text class="head" x="10" y="{y + 16}">{escape(f"{group}: {quantity}")}</text>')
        y += HEAD
        top = max((figure["value"]["high"] for figure in figures), default=1.0) or 1.0
        for figure in figures:
            body.append(_bar(figure, y, top))
            y += BAR + GAP
        y += GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" '
        f'aria-label="{escape(part["title"])}"><style>{_STYLE}</style>{"".join(body)}</svg>\n'
    )


def _panels(figures: list[Json]) -> list[tuple[tuple[str, str], list[Json]]]:
    order: dict[tuple[str, str], int] = {}
    for figure in figures:
        order.setdefault((figure["group"], figure["quantity"]), len(order))

    def place(figure: Json) -> int:
        return order[figure["group"], figure["quantity"]]

    return [
        ((found[0]["group"], found[0]["quantity"]), found)
        for _, members in groupby(sorted(figures, key=place), key=place)
        if (found := list(members))
    ]


def _bar(figure: Json, y: int, top: float) -> str:
    value = figure["value"]
    scale = (WIDTH - LEFT - RIGHT) / top
    end, low, high = (LEFT + value[name] * scale for name in ("median", "low", "high"))
    middle = y + BAR / 2
    colour = COLOURS[0] if figure["ratio"] is not None else COLOURS[1]
    label = f"{number(value['median'])} {figure['unit']}"
    return (
        f'<text x="{LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(figure["name"])}</text>'
        f'<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 1):.1f}" height="{BAR}" fill="{colour}"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#d1712b" stroke-width="2"/>'
        f'<text x="{high + 8:.1f}" y="{middle + 4:.1f}">{escape(label)}</text>'
    )
