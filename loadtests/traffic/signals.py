"""An endless, reproducible stream of signals, each with the shape that it is written in."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from loadtests.traffic.payloads import SHAPES
from loadtests.traffic.shapes import Shape, Signal

# None of these is held in the sample database: a SELL of a held symbol takes the held quantity instead.
SYMBOLS = (
    "SBIN", "INFY", "TCS", "HDFCBANK", "ITC", "WIPRO", "TATASTEEL", "AXISBANK", "LT", "MARUTI",
    "BHARTIARTL", "SUNPHARMA", "TITAN", "ULTRACEMCO", "ASIANPAINT", "BAJAJ-AUTO", "CIPLA", "DLF",
    "EICHERMOT", "GRASIM", "HEROMOTOCO", "JSWSTEEL", "M&M", "ONGC", "POWERGRID",
)  # fmt: skip
COMMENTS = ("breakout", "target hit", "रेज़िस्टेंस ब्रेक ✓", "stop 'n' \"go\"", "50% of range", "a\tb")
FIRST_BAR = datetime(2026, 2, 2, 3, 45, tzinfo=UTC)


def skewed(items: Sequence[Any], exponent: float) -> list[float]:
    """Cumulative weights by which early items are chosen far more often (Zipf)."""
    return list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(len(items))))


def fresh_run() -> str:
    """A prefix for the markers of a run that no earlier run has used."""
    return f"ld{int(time.time() * 1000):x}"


class Signals:
    """An endless, reproducible stream of signals with their shapes.

    Args:
        run: prefix of every marker; unique per run, or rows of an earlier run would count.
        users: names of stored users; the first ones send most.
        seed: the same seed gives the same stream.
        skew: Zipf exponent of users and symbols; 0 is uniform.
        shapes: what to draw from.
    """

    def __init__(
        self,
        run: str,
        users: Sequence[str],
        *,
        seed: int,
        skew: float = 1.1,
        shapes: Sequence[Shape] = SHAPES,
    ) -> None:
        self.run = run
        self._random = random.Random(seed)
        self._users, self._user_weights = list(users), skewed(users, skew)
        self._symbol_weights = skewed(SYMBOLS, skew)
        self._shapes = list(shapes)
        self._shape_weights = list(itertools.accumulate(shape.weight for shape in shapes))
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[tuple[Signal, Shape]]:
        while True:
            yield self.next()

    def next(self) -> tuple[Signal, Shape]:
        """The next signal and the shape to write it in."""
        draw, number = self._random, next(self._numbers)
        (shape,) = draw.choices(self._shapes, cum_weights=self._shape_weights)
        return self._signal(draw, number), shape

    def _signal(self, draw: random.Random, number: int) -> Signal:
        (user,) = draw.choices(self._users, cum_weights=self._user_weights)
        (symbol,) = draw.choices(SYMBOLS, cum_weights=self._symbol_weights)
        return Signal(
            marker=f"{self.run}-{number}",
            user=user,
            symbol=symbol,
            exchange=draw.choice(("NSE", "NSE", "NSE", "BSE")),
            side=draw.choice(("BUY", "BUY", "SELL")),
            quantity=draw.randint(1, 900),
            price=round(draw.uniform(20, 9000), 2) if draw.random() < 0.7 else None,
            bar_time=FIRST_BAR + timedelta(minutes=15 * (number % 5000)),
            comment=draw.choice(COMMENTS),
        )
