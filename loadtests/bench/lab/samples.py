"""Figures as they are kept: samples with their median and range, ratios paired within one repeat.

A ratio is taken between two samples of the same repeat and only then summed up: what the machine does
besides is then in both, and a slow minute does not look like a slow program.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Spread:
    """The middle of some samples and how far they reach."""

    median: float
    low: float
    high: float
    samples: tuple[float, ...]

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Of at least one sample, rounded to six significant digits."""
        kept = tuple(float(f"{value:.6g}") for value in samples)
        return cls(float(f"{median(kept):.6g}"), min(kept), max(kept), kept)


@dataclass(frozen=True)
class Ratio:
    """A figure divided by the one of the same repeat that it is held against."""

    to: str
    value: Spread


@dataclass(frozen=True)
class Figure:
    """One measured quantity of one contender.

    `group`: what was done, e.g. "2,000,000 candles"; figures of one group are comparable. `name`: who did
    it. `quantity`: what was measured, in `unit`.
    """

    group: str
    name: str
    quantity: str
    unit: str
    value: Spread
    ratio: Ratio | None = None


@dataclass
class Part:
    """The result of one part of the benchmark; `notes` say what was left out, and why."""

    name: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values only."""
        return asdict(self)


class Samples:
    """Collects one group's samples, repeat by repeat, and makes figures of them.

    Args:
        group: see `Figure`.
        reference: the contender that all others are held against.
    """

    def __init__(self, group: str, reference: str) -> None:
        self._group = group
        self._reference = reference
        self._units: dict[str, str] = {}
        self._taken: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, name: str, quantity: str, unit: str, value: float) -> None:
        """One sample of the present repeat."""
        self._units[quantity] = unit
        self._taken[name, quantity].append(value)

    def figures(self) -> list[Figure]:
        """All of them, in the order in which they first came."""
        return [
            Figure(
                self._group, name, quantity, self._units[quantity], Spread.of(values),
                self._ratio(name, quantity, values),
            )
            for (name, quantity), values in self._taken.items()
        ]  # fmt: skip

    def _ratio(self, name: str, quantity: str, values: Sequence[float]) -> Ratio | None:
        others = self._taken.get((self._reference, quantity))
        if name == self._reference or not others or not all(others) or len(others) != len(values):
            return None
        pairs = [mine / theirs for mine, theirs in zip(values, others, strict=True)]
        return Ratio(self._reference, Spread.of(pairs))
