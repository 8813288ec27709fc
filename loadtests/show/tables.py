"""The figures as markdown, put between markers of a document."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


def table(part: Json) -> str:
    """One part: where it was measured, its figures, its notes."""
    lines = [
        _origin(part),
        "",
        "| What | Who | Measure | Median | Range | Ratio (range) |",
        "|---|---|---|---:|---:|---:|",
    ]
    before = ""
    for figure in part["figures"]:
        group = figure["group"] if figure["group"] != before else ""
        before = figure["group"]
        value, unit = figure["value"], figure["unit"]
        lines.append(
            f"| {group} | {figure['name']} | {figure['quantity']} | {number(value['median'])} {unit} | "
            f"{number(value['low'])} to {number(value['high'])} | {_ratio(figure['ratio'])} |"
        )
    if part["notes"]:
        lines += ["", *(f"- {note}" for note in part["notes"])]
    return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits; thousands are separated."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _ratio(ratio: Json | None) -> str:
    if ratio is None:
        return ""
    value = ratio["value"]
    return f"{value['median']:.2f} of {ratio['to']} ({value['low']:.2f} to {value['high']:.2f})"


def _origin(part: Json) -> str:
    machine = part["machine"]
    load = ", ".join(f"{value:.1f}" for value in part["load_average"])
    return (
        f"{part['title']}. {machine['processors']} processors ({machine['processor']}), {machine['memory_gb']} GB, "
        f"Python {machine['python']}, SQLite {machine['sqlite']}, PostgreSQL {machine['postgresql']}"
        + (f", pgloader {machine['pgloader']}" if machine["pgloader"] else "")
        + f"; {_repeats(part)}, load average {load}; `{part['command']}`."
    )


def _repeats(part: Json) -> str:
    counts = {len(figure["value"]["samples"]) for figure in part["figures"]}
    return f"{' or '.join(map(str, sorted(counts)))} samples each"


def insert(document: str, parts: Iterable[Json]) -> str:
    """The document with each part's table between its markers; a part without markers is left out."""
    for part in parts:
        begin, end = (f"<!-- {mark}bench:{part['name']} -->" for mark in ("", "/"))
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = f"{begin}\n{table(part)}\n{end}"
        document = pattern.sub(lambda _, text=text: text, document)
    return document
