"""What a load run has measured, as its bounds need it and as its JSON file holds it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtests.judge.figures import Latency, latency, percentile
from loadtests.judge.oracle import Verdict
from loadtests.judge.outcome import Outcome, Switch
from loadtests.judge.watch import Watch
from loadtests.traffic.ledger import Delivery
from loadtests.traffic.profiles import Profile


@dataclass(frozen=True)
class Measured:
    """What a run has measured.

    `times`: of answers outside of switches; `pauses`: (name, reported ms) of each switch; `lags`: seconds,
    one per look while no command for a switch ran; `near`: while one ran; `failed_requests`: requests of
    any kind that locust counts as failed.
    """

    verdict: Verdict
    times: Latency
    pauses: Sequence[tuple[str, float]]
    lags: Sequence[float]
    near: Sequence[float]
    failed_requests: int


def measure(outcome: Outcome, watch: Watch, began: float, failed_requests: int) -> Measured:
    """Of a run whose load began at a moment (seconds since the epoch)."""
    calm = [delivery for delivery in outcome.deliveries if not _in_switch(delivery, outcome.switches)]
    commands = [switch.command for switch in outcome.switches]
    return Measured(
        outcome.verdict,
        latency(calm, began, time.time()),
        [(f"{n}, {switch.name}", switch.reported_ms or 0.0) for n, switch in _numbered(outcome)],
        watch.lags(outside=commands),
        watch.lags(inside=commands),
        failed_requests,
    )


def figures(
    measured: Measured,
    outcome: Outcome,
    watch: Watch,
    began: float,
    profile: Profile,
    *,
    scale: float | None,
    dual_write: str,
    requests: int,
) -> dict[str, Any]:
    """All figures of a run, as its JSON file and its report show them.

    Args:
        profile: scaled by `scale`, as it was played.
        dual_write: ST_DUAL_WRITE of the backend.
        requests: how many of any kind locust counts.
    """
    verdict, times, lags = measured.verdict, measured.times, measured.lags
    looks = len(watch.samples)
    changes, _ = watch.highest_lag()
    counts = {name: value for name, value in asdict(verdict).items() if name != "findings"}
    return {
        "profile": profile.name,
        "seed": profile.seed,
        "scale": scale,
        "peak_users": profile.peak,
        "dual_write": dual_write,
        "load_seconds": round(time.time() - began, 1),
        "requests": requests,
        "deliveries": counts | {"findings": len(verdict.findings)},
        "answer_ms": {"p50": times.p50, "p99": times.p99, "worst": times.worst},
        "lag_ms": {
            "p50": percentile(lags, 0.5) * 1000,
            "p99": percentile(lags, 0.99) * 1000,
            "highest": max(lags, default=0.0) * 1000,
            "highest_during_commands": max(measured.near, default=0.0) * 1000,
            "looks": looks,
            "processor_ms_per_look": watch.cpu_s * 1000 / max(looks, 1),
        },
        "highest_lag_changes": changes,
        "switch": {f"{n}. {switch.name}": _as_json(switch) for n, switch in _numbered(outcome)},
    }


def _as_json(switch: Switch) -> dict[str, float]:
    assert switch.seen
    return {
        "reported_ms": switch.reported_ms or 0.0,
        "gap_ms": switch.seen.gap,
        "slowest_ms": switch.seen.wait,
    }


def _numbered(outcome: Outcome) -> list[tuple[int, Switch]]:
    return list(enumerate(outcome.switches, start=1))


def _in_switch(delivery: Delivery, switches: Sequence[Switch]) -> bool:
    return any(
        switch.begin <= attempt.at + attempt.ms / 1000 and attempt.at <= switch.end
        for switch in switches
        for attempt in delivery.attempts
    )
