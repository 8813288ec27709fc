"""What the benchmark says in a few lines: the first table of docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.show.tables import NOTHING, committed, number

Json = dict[str, Any]
Values = Mapping[tuple[str, str], Mapping[str, Json]]  # (group, who) to quantity to {median, low, high}
# Contenders of the benchmark, as the committed figures name them.
ALONE = "SQLite alone, before the shim"
NAIVE = "naive dual-writer"
OFF = "SQLite, shim off"
ONE_EACH = "SQLite alone, one transaction per delivery"  # the code of --before
ASYNC, SYNC, POSTGRES_ALONE = "SQLite, async", "SQLite, sync", "PostgreSQL alone"
OURS, LIMIT, PGLOADER = "this tool", "COPY of a text file", "pgloader"
VERIFY, SCAN = "verify, both sides", "bare scan of SQLite"
WITH, WITHOUT = "with", "without"
BEFORE, NOW = "before", "now"
QUEUE, PROCRASTINATE = "this queue", "procrastinate"


def headline_table(figures: Path) -> str:
    """One line per question that somebody asks before a move."""
    lines = [line for part in PARTS for line in PARTS[part](_values(figures, part))]
    if not lines:
        return NOTHING
    return "\n".join(["| question | measured |", "|---|---|", *lines])


def _values(figures: Path, part: str) -> Values:
    found: dict[tuple[str, str], dict[str, Json]] = {}
    for figure in (committed(figures, part) or {"figures": []})["figures"]:
        found.setdefault((figure["group"], figure["name"]), {})[figure["quantity"]] = figure["value"]
    return found


def _median(values: Values, group: str, who: str, quantity: str) -> float:
    return float(values[group, who][quantity]["median"])


def _times(values: Values, group: str, who: str, than: str, quantity: str) -> float:
    """How many times as much, repeat by repeat; the median of that."""
    pairs = zip(
        values[group, who][quantity]["samples"], values[group, than][quantity]["samples"], strict=True
    )
    return float(median(ours / theirs for ours, theirs in pairs))


def _groups(values: Values, who: str) -> Iterator[str]:
    return (group for group, name in values if name == who)


def _copy(values: Values) -> Iterator[str]:
    for group in _groups(values, LIMIT):
        times = _times(values, group, OURS, LIMIT, "time")
        seconds = number(_median(values, group, OURS, "time"))
        text = f"{seconds} s, {times:.2f} times a bare COPY of a ready text file"
        if (group, PGLOADER) in values:
            longer = _times(values, group, PGLOADER, OURS, "time")
            text += f"; pgloader takes {longer:.1f} times as long"
        yield f"| copying {group.partition(' (')[0]} | {text} |"
    sizes = [who for group, who in values if group == "growth of the copy"]
    if sizes:
        per = [_median(values, "growth of the copy", who, "time per million rows") for who in sizes]
        most = max(values["growth of the copy", who]["memory"]["high"] for who in sizes)
        yield f"| {', '.join(sizes)} | {' / '.join(map(number, per))} s per million, at most {number(most)} MB |"


def _verify(values: Values) -> Iterator[str]:
    for group in _groups(values, VERIFY):
        speed = _median(values, group, VERIFY, "speed")
        floor = _median(values, group, SCAN, "speed")
        yield (
            f"| verifying {group} | {number(speed)} rows per second, both sides; reading SQLite alone {number(floor)} |"
        )


def _sessions(values: Values) -> Iterator[str]:
    for group in _groups(values, ALONE):
        quantity, unit = ("p50", "ms, median") if group == "1 thread" else ("commits", "per second")
        shown = ", ".join(
            f"{label} {number(_median(values, group, who, quantity))}"
            for label, who in (
                ("SQLite alone", ALONE),
                ("async", ASYNC),
                ("sync", SYNC),
                ("two commits in a row", NAIVE),
            )
        )
        yield f"| commits, {group}, {unit} | {shown} |"


def _changes(values: Values) -> Iterator[str]:
    for (group, who), quantities in values.items():
        if who.startswith("apply on"):
            yield f"| {group}, {who} | {number(quantities['speed']['median'])} rows per second |"
        elif "lag p99" in quantities:
            yield f"| {group}, {who} | p99 {number(quantities['lag p99']['median'])} ms |"


def _webhook(values: Values) -> Iterator[str]:
    for group in _groups(values, OFF):
        if "4 workers" in group:
            rates = ", ".join(
                f"{label} {number(_median(values, group, who, 'deliveries'))}"
                for label, who in (
                    ("one transaction each", ONE_EACH),
                    ("SQLite alone", OFF),
                    ("sync", SYNC),
                    ("PostgreSQL alone", POSTGRES_ALONE),
                )
                if (group, who) in values
            )
            yield f"| webhooks per second, {group} | {rates} |"


def _switch(values: Values) -> Iterator[str]:
    for (group, who), quantities in values.items():
        pause = quantities["reported pause"]
        yield f"| {group}, {who} | pause {number(pause['median'])} ms, at most {number(pause['high'])} |"


def _worth(values: Values) -> Iterator[str]:
    for group in _groups(values, WITH):
        quantity = next(iter(values[group, WITH]))
        times = _times(values, group, WITH, WITHOUT, quantity)
        yield f"| {group} | {quantity} {times:.2f} times that without |"


def _jobs(values: Values) -> Iterator[str]:
    for group in _groups(values, QUEUE):
        shown = f"{number(_median(values, group, QUEUE, 'jobs'))} per second"
        if (group, PROCRASTINATE) in values:
            shown += (
                f", {_times(values, group, QUEUE, PROCRASTINATE, 'jobs'):.1f} times as many as procrastinate"
            )
        yield f"| jobs of orders, {group} | {shown} |"


def _beside(values: Values) -> Iterator[str]:
    told: dict[tuple[str, str], list[str]] = {}
    for group in _groups(values, NOW):
        quantity = next(iter(values[group, NOW]))
        what, _, who = group.partition(": ")
        times = _times(values, group, NOW, BEFORE, quantity)
        told.setdefault((what, quantity), []).append(f"{who} {times:.2f}")
    for (what, quantity), ratios in told.items():
        yield f"| now, as a share of before: {what} | {quantity}: {'; '.join(ratios)} |"


PARTS = {
    "copy": _copy,
    "verify": _verify,
    "sessions": _sessions,
    "changes": _changes,
    "webhook": _webhook,
    "switch": _switch,
    "worth": _worth,
    "jobs": _jobs,
    "beside": _beside,
}
