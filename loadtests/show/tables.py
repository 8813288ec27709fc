"""Figures as people read them: numbers, the machine in a line, and a part of the benchmark as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]
NOTHING = "No figures have been committed."


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


def committed(figures: Path, name: str) -> Json | None:
    """One file of a folder of figures, None if it is not there."""
    path = figures / f"{name}.json"
    if not path.exists():
        return None
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def number(value: float) -> str:
    """Three significant digits; thousands are separated."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine_line(result: Json) -> str:
    """What a result was measured on, and with which databases."""
    machine = result["machine"]
    return (
        f"{machine['processors']} processors ({machine['processor']}), {machine['memory_gb']} GB, "
        f"Python {machine['python']}, SQLite {machine['sqlite']}, PostgreSQL {machine['postgresql']}"
    )


def _ratio(ratio: Json | None) -> str:
    if ratio is None:
        return ""
    value = ratio["value"]
    return f"{value['median']:.2f} of {ratio['to']} ({value['low']:.2f} to {value['high']:.2f})"


def _origin(part: Json) -> str:
    machine = part["machine"]
    load = ", ".join(f"{value:.1f}" for value in part["load_average"])
    return (
        f"{part['title']}. {machine_line(part)}"
        + (f", pgloader {machine['pgloader']}" if machine["pgloader"] else "")
        + f"; {_repeats(part)}, load average {load}; `{part['command']}`."
    )


def _repeats(part: Json) -> str:
    counts = {len(figure["value"]["samples"]) for figure in part["figures"]}
    return f"{' or '.join(map(str, sorted(counts)))} samples each"
