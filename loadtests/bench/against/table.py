"""The committed figures of the comparison with pgloader, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadtests.show.tables import NOTHING, committed, machine_line

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
