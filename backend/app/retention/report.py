"""What a run would do, what the last one did, and what the archives hold. Nothing here writes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.retention import archive
from app.retention.holds import held
from app.retention.old.needs import needs
from app.retention.old.parts import Part, parts
from app.retention.old.rules import dedupe_window, rules
from app.retention.run import archive_folder, last_run

RESTORED: Final = "restored"  # why a row stays that came out of an archive
_AT_A_TIME: Final = 500


def dry_run(db: Session, settings: Settings, now: datetime) -> dict[str, dict[str, Any]]:
    """By rule: rows that would go, and old rows that stay, by reason.

    Raises:
        BadRule: a rule cannot be read or applied.
    """
    folder = archive_folder(settings)
    found = {}
    for rule in rules(settings):
        cutoff = rule.cutoff(now, dedupe_window(settings))
        restored = held(folder, rule.table, now)
        counts = [_count(db, part, restored) for part in parts(db, rule, cutoff)]
        found[rule.name] = {
            "days": rule.days,
            "cutoff": cutoff.isoformat(),
            "would_go": sum(goes for goes, _ in counts),
            "stay": _added([stay for _, stay in counts]),
        }
    return found


def status(settings: Settings) -> dict[str, Any]:
    """The rules in force, the last run, archives by rule, and files that a person has to look at.

    Raises:
        BadRule: a rule cannot be read.
    """
    folder = archive_folder(settings)
    archives: dict[str, dict[str, int]] = {}
    for path in archive.listed(folder):
        entry = archives.setdefault(path.parent.name, {"files": 0, "bytes": 0})
        entry["files"] += 1
        entry["bytes"] += path.stat().st_size
    return {
        "scheduled": settings.retention,
        "rules": {rule.name: rule.days for rule in rules(settings)},
        "folder": str(folder),
        "last_run": last_run(folder),
        "archives": archives,
        "pending": [path.name for path in archive.pending(folder)],
        "damaged": sorted(path.name for path in (folder / archive.DAMAGED).glob(f"*{archive.ENDING}")),
    }


def _count(db: Session, part: Part, restored: frozenset[int]) -> tuple[int, dict[str, int]]:
    table = part.rule.table
    if part.series is None:
        old = part.rule.time < part.cutoff
    else:
        old = and_(part.rule.time < part.cutoff, *(table.c[k] == v for k, v in part.series._asdict().items()))
    reasons = needs(part.rule, part.cutoff)
    sums = [
        func.sum(case((condition, 1), else_=0)).label(f"n{i}") for i, condition in enumerate(reasons.values())
    ]
    query = select(func.count(), func.sum(case((or_(*reasons.values()), 1), else_=0)), *sums)
    total, needed, *each = db.execute(query.select_from(table).where(old)).one()
    stay = {reason: int(n or 0) for reason, n in zip(reasons, each, strict=True)}
    goes = db.scalar(select(func.count()).select_from(table).where(part.condition(db))) or 0
    if part.series is not None:
        stay["bars"] = total - int(needed or 0) - goes
    stay[RESTORED] = _count_of(db, part, restored)
    return goes - stay[RESTORED], stay


def _count_of(db: Session, part: Part, restored: frozenset[int]) -> int:
    """How many restored rows would go if they were not held."""
    table, ids, found = part.rule.table, sorted(restored), 0
    for start in range(0, len(ids), _AT_A_TIME):
        some = table.c.id.in_(ids[start : start + _AT_A_TIME])
        found += db.scalar(select(func.count()).select_from(table).where(some, part.condition(db))) or 0
    return found


def _added(counts: list[dict[str, int]]) -> dict[str, int]:
    names = {name for count in counts for name in count}
    return {name: total for name in sorted(names) if (total := sum(count.get(name, 0) for count in counts))}
