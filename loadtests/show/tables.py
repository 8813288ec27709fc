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


Json = dict[str, Any]


def against_table(figures: Path) -> str:
    """Each file: rows, objects, seconds; then what reads or does otherwise than on SQLite, by mover."""
    result = committed(figures, "against")
    if result is None:
        return NOTHING
    load = ", ".join(str(value) for value in result["load_average"])
    lines = [f"{machine_line(result)}; load average {load}; `{result['command']}`, {result['date']}.", ""]
    for file in result["files"]:
        lines += [*_of_file(file), ""]
    return "\n".join(lines).rstrip()


def _of_file(file: Json) -> list[str]:
    movers: Json = file["movers"]
    rows = next(iter(movers.values()))["read"]["rows"]
    lines = [
        f"**{file['name'].capitalize()}**: {rows:,} rows, {file['megabytes']:g} MB.",
        "",
        f"| | {' | '.join(movers)} |",
        f"|---|{'---|' * len(movers)}",
        _line("rows that read the same", movers, lambda m: f"{m['read']['right']:,}"),
        _line("rows with a value that reads otherwise", movers, lambda m: f"{m['read']['altered']:,}"),
        _line("rows that are missing", movers, lambda m: f"{m['read']['missing']:,}"),
        _line("columns that read otherwise", movers, lambda m: str(len(m["read"]["columns"]))),
    ]
    for what, (_, declared) in next(iter(movers.values()))["objects"].items():
        if not declared:
            continue
        lines.append(_line(f"{what}, of those declared", movers, lambda m, w=what: _of(m["objects"][w])))
    if file["truth"]:
        count = len(file["truth"])
        lines.append(
            _line("acts with SQLite's answer", movers, lambda m: f"{count - len(m['acts'])} of {count}")
        )
    lines += [
        _line("exit code", movers, lambda m: str(m["exit_code"])),
        _line("seconds, median of the runs", movers, lambda m: f"{m['median']:g}"),
    ]
    return [*lines, "", *_details(file)]


def _of(counts: list[int]) -> str:
    there, declared = counts
    return f"{min(there, declared)} of {declared}"


def _line(what: str, movers: Json, told: Any) -> str:
    return f"| {what} | {' | '.join(told(mover) for mover in movers.values())} |"


def _details(file: Json) -> list[str]:
    lines = []
    for name, mover in file["movers"].items():
        found = [f"`{column}`: {what}" for column, what in mover["read"]["columns"].items()]
        found += [
            f"{act}: {_short(file['truth'][act])} on SQLite, {_short(got)} here"
            for act, got in mover["acts"].items()
        ]
        lines += [f"- {name}: {one}" for one in [*map(_short, mover["said"]), *found[:MOST]]]
        if len(found) > MOST:
            lines.append(f"- {name}: and {len(found) - MOST} more in `docs/figures/against.json`")
    return lines


MOST = 14


def _short(text: str) -> str:
    return " ".join(text.split())[:160].replace("|", "\\|")
