"""Figures as people read them: numbers, the machine in a line, and a part of the benchmark as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]
NOTHING = "No figures have been committed."


def table(part: Json) -> str:
    """One part: where it was measured; a table for each set of measures, a line for each contender; its notes."""
    groups: dict[str, dict[str, dict[str, Json]]] = {}
    for figure in part["figures"]:
        measures = groups.setdefault(figure["group"], {}).setdefault(figure["name"], {})
        measures[figure["quantity"]] = figure
    lines = [_origin(part)]
    before: list[str] = []
    for group, contenders in groups.items():
        columns = list(dict.fromkeys(quantity for measures in contenders.values() for quantity in measures))
        if columns != before:
            lines += ["", f"| What | Who | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
            before = columns
        for n, (name, measures) in enumerate(contenders.items()):
            cells = " | ".join(_cell(measures[c]) if c in measures else "" for c in columns)
            lines.append(f"| {'' if n else group} | {name} | {cells} |")
    if references := sorted({f["ratio"]["to"] for f in part["figures"] if f["ratio"]}):
        lines += ["", f"A ratio (×) is to {' or '.join(references)} of the same run."]
    if part["notes"]:
        lines += ["", *(f"- {note}" for note in part["notes"])]
    return "\n".join(lines)


def _cell(figure: Json) -> str:
    """Median and range, and how many times the peer's that is."""
    value, unit = figure["value"], figure["unit"]
    text = f"{number(value['median'])} {unit}".rstrip()
    if len(value["samples"]) > 1:
        text += f" ({number(value['low'])} to {number(value['high'])})"
    if figure["ratio"] is not None:
        ratio = figure["ratio"]["value"]
        text += f"; {ratio['median']:.2f}× ({ratio['low']:.2f} to {ratio['high']:.2f})"
    return text


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


def against_table(figures: Path, brief: bool = False) -> str:
    """Each file: rows, objects, seconds; then what reads or does otherwise than on SQLite, by mover.

    The brief form has a line for each file and mover.
    """
    result = committed(figures, "against")
    if result is None:
        return NOTHING
    if brief:
        return _against_brief(result)
    load = ", ".join(str(value) for value in result["load_average"])
    lines = [f"{machine_line(result)}; load average {load}; `{result['command']}`, {result['date']}.", ""]
    for file in result["files"]:
        lines += [*_of_file(file), ""]
    return "\n".join(lines).rstrip()


def _against_brief(result: Json) -> str:
    """Rows right, objects there, acts of an application that end as on SQLite, seconds."""
    lines = [
        "| file | mover | rows right | objects there | acts as on SQLite | a new row gets a key | seconds |",
        "|---|---|---:|---:|---:|---|---:|",
    ]
    for file in result["files"]:
        for name, mover in file["movers"].items():
            there = sum(min(counts) for counts in mover["objects"].values())
            declared = sum(count for _, count in mover["objects"].values())
            count = len(file["truth"])
            acts = f"{count - len(mover['acts'])} of {count}" if count else ""
            key = ("no" if KEYLESS in mover["acts"] else "yes") if count else ""
            lines.append(
                f"| {file['name']} | {name} | {mover['read']['right']:,} of {mover['read']['rows']:,} "
                f"| {there} of {declared} | {acts} | {key} | {mover['median']:g} |"
            )
    return "\n".join([*lines, "", f"From `{result['command']}`, {result['date']}: {machine_line(result)}."])


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
KEYLESS = "insert without a key"  # the act that shows whether a column still gives out keys


def _short(text: str) -> str:
    return " ".join(text.split())[:160].replace("|", "\\|")
