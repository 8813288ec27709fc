"""Verify with a progress bar, and with --repair: log the differing keys anew, apply, compare again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.db.apply.compare import Mismatch
from app.db.apply.round import Applier
from app.db.sides.capture.foreign import foreign_triggers
from migration.common.render import Advance
from migration.verify.repair import Repaired, repair_all
from migration.verify.run import Verify, VerifyProgress, VerifyResult

SHOWN = 100  # mismatches in a JSON object; the counts cover all


def verify(
    applier: Applier,
    tables: list[str] | None,
    rate: float | None,
    advance: Advance,
) -> VerifyResult:
    """Compare all tables, or some. Raises SwitchError, see `Verify.run`."""
    shown = 0

    def report(now: VerifyProgress) -> None:
        nonlocal shown
        advance("rows", now.rows - shown, max(now.expected, now.rows))
        shown = now.rows

    return Verify(applier, tables=tables, rate=rate).run(report)


def repair_and_verify(
    applier: Applier,
    found: VerifyResult,
    tables: list[str] | None,
    rate: float | None,
    advance: Advance,
    *,
    discard_strangers: bool,
) -> tuple[Repaired, VerifyResult]:
    """Repair all that a verify found and verify again. Returns what is equal now, and why the rest is not."""
    repaired = repair_all(applier, found.tables, discard_strangers=discard_strangers)
    return repaired, verify(applier, tables, rate, advance)


def trigger_lines(applier: Applier) -> list[str]:
    """One line for each trigger of the application's own that would change what apply writes."""
    stores = applier.stores
    found = foreign_triggers(stores.sqlite.connection, stores.postgres.connection, applier.schema())
    return list(map(str, found))


def result_json(result: VerifyResult) -> dict[str, Any]:
    """The part of a verb's JSON object that tells of a verify."""
    return {
        "tables": len(result.tables),
        "rows": result.rows,
        "set_aside": result.set_aside,
        "seconds": round(result.seconds, 3),
        "full": result.full,
        "resumed": result.resumed,
        "mismatches": sum(result.per_table.values()),
        "per_table": [{"table": table, "mismatches": n} for table, n in result.per_table.items()],
        "keys": [mismatch_json(item) for item in result.mismatches[:SHOWN]],
    }


def mismatch_json(item: Mismatch) -> dict[str, Any]:
    """One differing key."""
    return {**asdict(item), "key": item.key_text(), "columns": list(item.columns)}
