"""What preflight says: findings, each with its place, its reason and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

SHOWN_KEYS = 10


class Severity(StrEnum):
    """What a finding means for the move."""

    BLOCKS = "blocks"  # the move would refuse, or rows would stay in quarantine
    WARNS = "warns"  # the move works, and something behaves differently or may run short
    INFO = "info"  # worth knowing; nothing to do


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Args:
        code: what it is, `area.what`, stable for scripts.
        count: rows or things concerned.
        keys: the first keys of the rows, as quarantine would show them.
        policies: conversions that give every one of these values a canonical form.
        chosen: the conversions that the policy file names for the column.
        on_sqlite, on_postgres: the statement that removes the cause, where it is known to the letter.
        undo: the statement that takes that one back, on the same side.
    """

    code: str
    severity: Severity
    reason: str
    remedy: str = ""
    table: str = ""
    column: str = ""
    count: int = 1
    keys: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    on_sqlite: str = ""
    on_postgres: str = ""
    undo: str = ""

    @property
    def place(self) -> str:
        """Table and column in one word. Empty for what concerns the whole database."""
        return f"{self.table}.{self.column}" if self.column else self.table

    def lines(self) -> list[str]:
        """As people read it: where, what, which rows; what to do only where something is to do."""
        place = f"{self.place}:" if self.place else ""
        count = f"{self.count} {self.reason}" if self.keys else self.reason
        more = " ..." if self.count > len(self.keys) else ""
        keys = f"(keys {', '.join(self.keys)}{more})" if self.keys else ""
        line = " ".join(filter(None, (f"{self.severity:6}", place, count, keys)))
        remedy = [] if self.severity is Severity.INFO or not self.remedy else [f"       -> {self.remedy}"]
        return [line, *remedy]


@dataclass(frozen=True)
class Report:
    """All findings of one run, the worst first, and what was read.

    `seconds` is the time that reading the values took.
    """

    findings: tuple[Finding, ...]
    tables: int
    rows: int
    seconds: float

    @property
    def blocking(self) -> tuple[Finding, ...]:
        return tuple(item for item in self.findings if item.severity is Severity.BLOCKS)

    @property
    def clean(self) -> bool:
        """Whether nothing blocks the move."""
        return not self.blocking

    def as_dict(self) -> dict[str, Any]:
        """The report in JSON's types."""
        return {
            "clean": self.clean,
            "tables": self.tables,
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "counts": {
                severity.value: sum(item.severity is severity for item in self.findings)
                for severity in Severity
            },
            "findings": [asdict(item) for item in self.findings],
        }


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by severity, then by place."""
    rank = list(Severity)
    return tuple(
        sorted(findings, key=lambda item: (rank.index(item.severity), item.code, item.table, item.column))
    )
