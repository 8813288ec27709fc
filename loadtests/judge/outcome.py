"""What one run has shown: its commands, its switches, every delivery, the oracle's verdict, what went wrong.

The story fills it in while the run goes on; the demo's figures and the load run's checks are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from loadtests.judge.figures import Pause
from loadtests.judge.oracle import Verdict
from loadtests.stage.processes import Result
from loadtests.traffic.ledger import Delivery


@dataclass(frozen=True)
class Mark:
    """A stretch of time with a name, in seconds. `strong`: writers were held."""

    name: str
    begin: float
    end: float
    strong: bool = False

    def since(self, moment: float) -> Mark:
        """The same stretch, counted from a moment."""
        return Mark(self.name, self.begin - moment, self.end - moment, self.strong)


@dataclass
class Switch:
    """One move of the primary.

    `begin` and `end`: when writers were held, in seconds since the epoch; `command`: when its command was
    called and when it had ended, with what it does before and after; `seconds`: how long it took;
    `reported_ms`: the pause as the tool reported it; `seen`: the pause as the senders saw it, None until
    their deliveries are known.
    """

    name: str
    primary: str
    begin: float
    end: float
    command: tuple[float, float]
    seconds: float
    reported_ms: float | None
    seen: Pause | None = None


@dataclass
class Outcome:
    """What a run has shown so far.

    `results`: every call of st-migrate; `marks`: commands and switches, in seconds since the epoch;
    `repeated`: what was said by commands that had to be called again; `mismatches`: what verify found;
    `problems`: what no figure names, such as a command that failed; `judged`: whether the run has come to
    its end, and so to its verdict.
    """

    results: list[Result] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    mismatches: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    judged: bool = False

    def of(self, verb: str) -> list[Result]:
        """Every call of one command."""
        return [result for result in self.results if result.verb == verb]
