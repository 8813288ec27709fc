"""The figures of a demo, as JSON holds them and as the closing table shows them."""

from __future__ import annotations

import platform
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.judge.figures import Pause, latency
from loadtests.judge.outcome import Outcome, Switch
from loadtests.judge.watch import Watch
from loadtests.show.tables import NOTHING, committed, machine_line, number

SHOWN = 150  # characters of a statement in a table of plans


def figures(outcome: Outcome, watch: Watch, *, database: str, kills: int, seconds: float) -> dict[str, Any]:
    """Everything that was measured.

    Args:
        database: where the file came from.
        kills: how many processes were killed on purpose.
        seconds: how long the run took.
    """
    verdict, deliveries, backfills = outcome.verdict, outcome.deliveries, outcome.of("backfill")
    copied = backfills[-1].data if backfills else {}
    rows = int(copied.get("rows_in_all", copied.get("rows", 0)))
    copy_seconds = sum(result.seconds for result in backfills)
    changes, lag_seconds = watch.highest_lag()
    first = min((d.attempts[0].at for d in deliveries), default=0.0)
    last = max((d.attempts[-1].at for d in deliveries), default=0.0)
    times = latency(deliveries, first, last + 1e-3)
    return {
        "database": database,
        "python": platform.python_version(),
        "rows_copied": rows,
        "copy_seconds": copy_seconds,
        "rows_per_second": rows / copy_seconds if copy_seconds else 0.0,
        "webhooks": {
            "sent": verdict.deliveries,
            "per_second": len(deliveries) / max(last - first, 1.0),
            "acknowledged": verdict.acknowledged,
            "refused_on_purpose": verdict.refused,
            "resent": sum(len(d.attempts) - 1 for d in deliveries),
            "failed": verdict.failed,
            "unanswered": verdict.unknown,
            "lost": verdict.count("lost"),
            "doubled": verdict.count("doubled"),
            "different": verdict.count("different", "refused_but_stored"),
        },
        "answer_ms": asdict(times),
        "switches": [_as_json(switch) for switch in outcome.switches],
        "highest_lag": {"changes": changes, "seconds": lag_seconds},
        "mismatches": outcome.mismatches,
        "commands_repeated": len(outcome.repeated),
        "kills": kills,
        "problems": outcome.problems,
        "seconds": seconds,
    }


def _as_json(switch: Switch) -> dict[str, Any]:
    return {
        "name": switch.name,
        "primary": switch.primary,
        "reported_ms": switch.reported_ms,
        "seen": asdict(switch.seen or Pause(0.0, 0.0)),
        "seconds": switch.seconds,
    }


def table_rows(figures: dict[str, Any]) -> list[tuple[str, Any]]:
    """The closing table."""
    webhooks, answers = figures["webhooks"], figures["answer_ms"]
    rows: list[tuple[str, Any]] = [
        ("rows copied", figures["rows_copied"]),
        ("rows per second", figures["rows_per_second"]),
        *((f"webhooks {name.replace('_', ' ')}", value) for name, value in webhooks.items()),
        ("answer, median / p99 / worst", " / ".join(f"{answers[k]:.0f}" for k in answers) + " ms"),
    ]
    for switch in figures["switches"]:
        reported = "-" if switch["reported_ms"] is None else f"{switch['reported_ms']:.0f}"
        seen = switch["seen"]
        rows.append(
            (
                f"pause: {switch['name']}",
                f"{reported} ms reported, {seen['gap']:.0f} ms gap, {seen['wait']:.0f} ms slowest answer",
            )
        )
    lag = figures["highest_lag"]
    rows += [
        ("highest lag", f"{lag['changes']} changes, {lag['seconds'] * 1000:.0f} ms"),
        ("mismatches", figures["mismatches"]),
        ("seconds in all", figures["seconds"]),
    ]
    return rows


def demo_table(folder: Path) -> str:
    """The closing table of the recorded demo, from the committed figures."""
    found = committed(folder, "demo")
    if found is None:
        return NOTHING
    rows = [(name, _shown(value)) for name, value in table_rows(found)]
    wide = max(len(name) for name, _ in rows)
    table = "\n".join(f"{name:<{wide}}  {value:>62}" for name, value in rows)
    return f"Closing table, from {found['database']}:\n\n```\n{table}\n```"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def burst_table(figures: Path, *, of: str = "burst", brief: bool = False) -> str:
    """A row for each burst and each code that it hit: medians over the repeats of one run.

    Args:
        figures: the folder of the committed figures.
        of: which of them.
        brief: what a reader of README asks first.
    """
    result = committed(figures, of)
    if result is None:
        return NOTHING
    played: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["bursts"]:
        if "answers" in row:
            played.setdefault((row["name"], row["code"]), []).append(row)
    rows = [_burst_cells(name, code, repeats) for (name, code), repeats in played.items()]
    left_out = {"processor, ms each"} if brief else set()
    if brief and {code for _, code in played} == {"now"}:
        left_out.add("code")
    kept = [column for column in BURST_COLUMNS if column not in left_out]
    lines = [
        f"| {' | '.join(kept)} |",
        f"|{'|'.join('---' if column in BURST_NAMES else '---:' for column in kept)}|",
        *(f"| {' | '.join(cells[column] for column in kept)} |" for cells in rows),
    ]
    return "\n".join([*lines, "", f"From `{result['command']}`, {result['date']}: {machine_line(result)}."])


BURST_NAMES = ("deliveries within a second", "code")
BURST_COLUMNS = (
    *BURST_NAMES, "taken in time", "p99, ms", "longest, ms", "503, sent again", "late or unanswered", "lost, doubled",
    "processor, ms each",
)  # fmt: skip


def _burst_cells(name: str, code: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    def middle(*keys: str) -> float:
        return median(sum(row["answers"][key] for key in keys) for row in rows)

    wrong = sum(row["oracle"]["lost"] + row["oracle"]["doubled"] for row in rows)
    return {
        "deliveries within a second": name,
        "code": code,
        "taken in time": f"{number(100 * middle('in_time') / middle('deliveries'))} %",
        "p99, ms": number(middle("p99")),
        "longest, ms": number(middle("worst")),
        "503, sent again": f"{middle('refused'):,.0f}",
        "late or unanswered": f"{middle('late', 'unanswered'):,.0f}",
        "lost, doubled": str(wrong),
        "processor, ms each": f"{median(row['processor_ms_per_delivery'] for row in rows):.2f}",
    }


def native_table(figures: Path) -> str:
    """The trial of the native branch: its longest locks, what deliveries noticed, plans, and partitions."""
    found = committed(figures, "native")
    if found is None:
        return NOTHING
    sent, plans, indexes = found["deliveries"], found["plans"], found["indexes"]
    steps = sorted(found["steps"], key=lambda step: -step["ms"])
    unused = ", ".join(f"`{one['index']}`" for one in indexes["unused"])
    held = max(steps, key=lambda step: step["held_ms"])
    lines = [
        f"`{found['command']}`, {found['date']}: {machine_line(found)}. {found['rows']:,} alerts, orders and events each, "
        f"{found['candles']:,} candles.",
        "",
        f"- The branch took {number(found['seconds'])} s in {len(steps)} statements. The longest lock that stops writers was held "
        f"{number(held['held_ms'])} ms at most (`{held['statement'][:60]}`).",
        f"- The longest wait of another session for a table was {number(max(s['others_waited_ms'] for s in steps))} ms.",
        f"- {sent['sent']} deliveries, {sent['failed']} failed; answers p50 / p99 / longest, ms: before {_three(sent['before'])}, "
        f"during {_three(sent['during'])}.",
        f"- Plans of {plans['statements']} statements: {len(plans['walks'])} go through a large table. "
        f"Indexes that repeat another: {', '.join(f'`{one[0]}`' for one in indexes['repeats']) or 'none'}.",
        f"- Indexes of large tables that nothing used meanwhile: {unused or 'none'}.",
        "",
        "| longest statements | ms | stops writers, ms |",
        "|---|---:|---:|",
        *(f"| `{s['statement'][:80]}` | {number(s['ms'])} | {number(s['held_ms'])} |" for s in steps[:6]),
        "",
        "| candles | one table | by month | unit |",
        "|---|---:|---:|---|",
        *(
            f"| {p['what']} | {number(p['plain'])} | {number(p['by_month'])} | {p['unit']} |"
            for p in found["partitions"]
        ),
        "",
        *(
            f"- Plan of {p['what']}: one table `{p['plain_plan']}`, by month `{p['by_month_plan']}`."
            for p in found["partitions"]
            if "plain_plan" in p
        ),
        "",
        "| statement on a large table | calls | middle / longest, ms | plan |",
        "|---|---:|---:|---|",
        *(
            f"| `{_cell(hot['statement'][:SHOWN])}` | {hot['calls']} | {number(hot['ms'])} / {number(hot['longest_ms'])} "
            f"| {_cell(hot['plan'])} |"
            for hot in _by_beginning(plans["hot"])
        ),
    ]
    return "\n".join(lines)


def _by_beginning(hot: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of the statements that are shown alike, the one that was sent most often; the figures have all of them."""
    found: dict[str, dict[str, Any]] = {}
    for one in hot:
        found.setdefault(one["statement"][:SHOWN], one)
    return list(found.values())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _three(answers: dict[str, float]) -> str:
    return " / ".join(number(answers[name]) for name in ("p50", "p99", "worst"))
