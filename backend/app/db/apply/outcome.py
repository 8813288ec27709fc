"""What a round of apply did, or why none took place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """What one round did.

    `changes` counts log entries, and `refused` counts rows that went to quarantine. `position` is the
    shadow's new watermark. `lag` is the age in seconds of the oldest entry when it was applied.
    """

    changes: int
    refused: int
    position: str
    lag: float
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """No round took place, and why: paused, not in a phase that applies, or the sides are switching."""

    reason: str


TOO_MUCH = Skipped("more changes than asked for")
SWITCHED = Skipped("the sides have just been switched")  # the next round looks the other way
