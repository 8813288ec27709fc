"""What a run under load has shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadtests.judge.bounds import Check
from loadtests.show.svg import Mark
from loadtests.traffic.ledger import Delivery


@dataclass
class Switch:
    """One switch: when it was, what the tool reported, and what the senders noticed, in ms.

    `command`: when its command was called and when it had ended, with what it does before and after.
    """

    name: str
    begin: float
    end: float
    command: tuple[float, float]
    reported_ms: float
    gap_ms: float = 0.0
    slowest_ms: float = 0.0


@dataclass
class Outcome:
    """What a run has shown; `problems` are what no bound names, such as a command that failed."""

    switches: list[Switch] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether every bound held and nothing else went wrong."""
        return bool(self.checks) and not self.problems and all(check.held for check in self.checks)
