"""Bursts as people read them: a line for each, a table of all, and this code against the one before."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

NOW, BEFORE = "now", "before"
COLUMNS = (
    "burst", "code", "in time", "p50 ms", "p99 ms", "worst ms", "503", "other 5xx", "taken later", "late",
    "longest ms", "unanswered", "cut", "of these stored", "given up", "lost", "doubled", "ms/delivery", "postgres", "sender", "queue",
)  # fmt: skip


def told(row: dict[str, Any]) -> str:
    """One burst in one line."""
    if "answers" not in row:
        return f"{row['name']} ({row['code']}): not played to its end"
    a = row["answers"]
    return (
        f"{row['name']} ({row['code']}): {a['in_time']:,} of {a['deliveries']:,} taken in time, p99 {a['p99']:,.0f} ms, "
        f"{a['refused']:,} refused with 503, {a['late']:,} late, {a['unanswered']:,} unanswered, longest {a['longest']:,.0f} ms; "
        f"{row['processor_ms_per_delivery']:.2f} ms of processor each{_switch(row['during'])}"
    )


def _switch(during: Mapping[str, Any]) -> str:
    if during.get("switch_s") is None:
        return ""
    return (
        f"; switch {during['switch_s']:.1f} s after the begin, writers held {during['pause_ms'] or 0:.0f} ms"
    )


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """All bursts, one line each."""
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=number < 1)
    for row in rows:
        if "answers" not in row:
            table.add_row(row["name"], row["code"], "not played")
            continue
        a = row["answers"]
        figures = (
            a["in_time"], a["p50"], a["p99"], a["worst"], a["refused"], a["other_5xx"], a["taken_later"], a["late"],
            a["longest"], a["unanswered"], a["cut"], a["unanswered_stored"], a["given_up"], row["oracle"]["lost"], row["oracle"]["doubled"],
        )  # fmt: skip
        costs = [row[f"{who}processor_ms_per_delivery"] for who in ("", "postgres_", "sender_")]
        queue = row["longest_queue"]
        table.add_row(
            row["name"],
            row["code"],
            *(f"{figure:,.0f}" for figure in figures),
            *(f"{cost:.2f}" for cost in costs),
            "-" if queue is None else f"{queue:,.0f}",
        )
    console = Console(width=220, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def ratios(rows: Sequence[dict[str, Any]]) -> list[str]:
    """This checkout against the one before: medians over the repeats, in this run."""
    found = []
    for name in dict.fromkeys(row["name"] for row in rows):
        by_code = {
            code: [row for row in rows if row["name"] == name and row["code"] == code and "answers" in row]
            for code in (BEFORE, NOW)
        }
        if not all(by_code.values()):
            continue

        def median(code: str, key: str) -> float:
            return statistics.median(
                row["processor_ms_per_delivery"] if key == "processor" else row["answers"][key]
                for row in by_code[code]  # noqa: B023 - called in the same turn
            )

        before, now = median(BEFORE, "in_time"), median(NOW, "in_time")
        cost, cheaper = median(BEFORE, "processor"), median(NOW, "processor")
        found.append(
            f"{name}: taken in time {before:,.0f} before, {now:,.0f} now ({now / max(before, 1):.2f} times); "
            f"processor per delivery {cost:.2f} ms before, {cheaper:.2f} ms now ({cost / max(cheaper, 1e-9):.2f} times less)"
        )
    return found
