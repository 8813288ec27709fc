"""Small rounds tried at once, and what came of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.db.apply import round as apply
from app.db.apply import small as apply_small
from app.db.apply.round import Applier
from app.db.apply.small import SmallRound
from app.db.sides.sqlite.bulletin import Bulletin
from tests.support.pairs import TestPair


class SmallRounds:
    """The outcomes of the small rounds that were tried: None where an ordinary round had to look.

    One that fails has no outcome; `tried` counts it.
    """

    def __init__(self) -> None:
        self.tried = 0
        self.under_way = 0  # the applier's lock is not held at `apply.read` in these
        self.outcomes: list[SmallRound | None] = []

    def __call__(self, *arguments: Any) -> SmallRound | None:
        self.tried += 1
        self.under_way += 1
        try:
            done = apply_small.small_round(*arguments)
        finally:
            self.under_way -= 1
        self.outcomes.append(done)
        return done

    @property
    def carried(self) -> list[int]:
        """How many log entries each successful one carried, empty ones left out."""
        return [done.changes for done in self.outcomes if done is not None and done.changes]

    @property
    def overtaken(self) -> int:
        return self.outcomes.count(None)

    def forget(self) -> None:
        self.tried = 0
        self.outcomes.clear()


@contextmanager
def small_rounds_at_once() -> Iterator[SmallRounds]:
    """Within this block appliers try a small round as soon as one is allowed, and it is noted."""
    with pytest.MonkeyPatch.context() as patch:
        seen = SmallRounds()
        patch.setattr(apply_small, "UNDISTURBED_S", (0.0, 0.0))
        patch.setattr(apply, "small_round", seen)
        yield seen


def silent(applier: Applier) -> Applier:
    """The applier, from now on as on a host of its own: it hears nothing of the others and tells them nothing."""
    applier._beginning._bulletin = Bulletin(Path("/nowhere/app.db"))
    return applier


def resumable(pair: TestPair) -> Applier:
    """A new applier that has left the shadow where a small round may begin."""
    applier = pair.new_applier()
    pair.lite.execute("UPDATE counter SET n = n WHERE id = 1")
    applier.round()
    assert applier._beginning._point is not None
    return applier
