"""A profile's bounds held against what was measured, one row each, with the reason of each bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from loadtests.judge.figures import percentile
from loadtests.judge.measured import Measured
from loadtests.traffic.profiles import Bounds

TRUE = "Whatever a sender was told must be in both databases, once, and as it was sent."
ANSWERED = "A switch holds requests and then serves them; TradingView never has to send again."
OTHERS = "People's reads and edits are held like webhooks; none may fail because the primary moves."
PAUSE = "The promise of a switch: writers wait for less than a quarter of a second."
P99 = "TradingView gives up after 3 s; senders, backend and both databases share the machine's cores."
LAG = "What a switch has to wait for, and what a crash of the primary's machine could cost."
NEAR = "Comparing, fencing and turning round cost the applier time; within a second it has caught up again."


@dataclass(frozen=True)
class Check:
    """One bound: what was measured must not be above it."""

    what: str
    measured: float
    bound: float
    unit: str
    reason: str

    @property
    def held(self) -> bool:
        """Whether the measured value is within the bound."""
        return self.measured <= self.bound

    def as_json(self) -> dict[str, Any]:
        """Plain values, with whether it held."""
        return asdict(self) | {"held": self.held}

    def __str__(self) -> str:
        return f"{self.what}: {self.measured:,.0f} {self.unit}, bound {self.bound:,.0f}".replace(" ,", ",")


def checks(bounds: Bounds, measured: Measured) -> Iterator[Check]:
    """Every bound of a profile, the general ones first."""
    verdict = measured.verdict
    yield Check("lost, doubled or altered", len(verdict.findings), 0, "", TRUE)
    yield Check("failed deliveries", verdict.failed, 0, "", ANSWERED)
    yield Check("unanswered deliveries", verdict.unknown + verdict.cut_off, 0, "", ANSWERED)
    yield Check("failed requests of any kind", measured.failed_requests, 0, "", OTHERS)
    for name, pause_ms in measured.pauses:
        yield Check(f"pause: {name}", pause_ms, bounds.pause_ms, "ms", PAUSE)
    reason = f"{P99} {bounds.because}".strip()
    yield Check("answers outside of switches, p99", measured.times.p99, bounds.p99_ms, "ms", reason)
    yield Check("lag, p99", percentile(measured.lags, 0.99) * 1000, bounds.lag_p99_ms, "ms", LAG)
    highest = max(measured.near, default=0.0) * 1000
    yield Check("lag while a switch's command runs, highest", highest, bounds.lag_switch_ms, "ms", NEAR)
