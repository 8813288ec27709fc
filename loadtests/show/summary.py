"""The figures of a demo, as JSON holds them and as the closing table shows them."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

from loadtests.judge.figures import latency
from loadtests.run.move import Move


def figures(move: Move) -> dict[str, Any]:
    """Everything that was measured; raises ValueError when the move never began."""
    if move.sender is None or move.watch is None:
        raise ValueError("nothing was sent")
    run, verdict, deliveries = move.run, move.verdict, move.sender.deliveries
    changes, seconds = move.watch.highest_lag(phase="replicating")
    first = min((d.attempts[0].at for d in deliveries), default=0.0)
    last = max((d.attempts[-1].at for d in deliveries), default=0.0)
    times = latency(deliveries, first, last + 1e-3)
    return {
        "database": move.stage.origin,
        "python": platform.python_version(),
        "rows_copied": run.rows,
        "copy_seconds": run.copy_seconds,
        "rows_per_second": run.rows / run.copy_seconds if run.copy_seconds else 0.0,
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
        "answer_ms": {"p50": times.p50, "p99": times.p99, "worst": times.worst},
        "switches": [asdict(switch) for switch in run.switches],
        "highest_lag": {"changes": changes, "seconds": seconds},
        "mismatches": run.mismatches,
        "commands_repeated": run.repeats,
        "kills": move.chaos.kills if move.chaos else 0,
        "problems": run.problems,
        "seconds": move.story.elapsed,
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
