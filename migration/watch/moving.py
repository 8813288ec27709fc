"""What a move is busy with at this moment, as one figure for all of it: the copy, its indexes, or a verify."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from app.db.sides.phase import Phase
from app.db.sides.stores import Stores
from app.db.switch.state.readiness import LastVerify
from migration.common.pace import Pace, Progress
from migration.fill.run import CopyProgress
from migration.verify.state import expected


@dataclass(frozen=True)
class Moving:
    """The work under way: `stage` is copy, indexes or verify."""

    stage: str
    progress: Progress

    def as_json(self) -> dict[str, Any]:
        return {"stage": self.stage, **self.progress.as_json()}

    def __str__(self) -> str:
        return f"{self.stage}: {self.progress}"


class Watched:
    """Measures the work under way between looks, which shows its pace of the last half minute."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._stage: str | None = None

    def at(self, now: Moving | None) -> Moving | None:
        """The work at this look, with its measured rate as soon as there is one."""
        if now is None:
            self._stage = None
            return None
        if now.stage != self._stage:
            self._pace, self._stage = Pace(), now.stage
        measured = self._pace.at(now.progress.done, now.progress.expected)
        return Moving(now.stage, measured) if measured.rate else now


def moving(stores: Stores, copy: CopyProgress | None, verify: LastVerify | None) -> Moving | None:
    """The work under way, None where there is none; the rate is its average since it began."""
    if copy is not None and stores.postgres.read_control().phase == Phase.COPYING:
        rate = None
        if copy.eta_seconds and copy.expected > copy.rows:
            rate = (copy.expected - copy.rows) / copy.eta_seconds
        done = Progress(copy.rows, max(copy.expected, copy.rows), rate, copy.eta_seconds)
        return Moving("indexes" if copy.done else "copy", done)
    if verify is None or verify.finished_at is not None:
        return None
    return Moving("verify", _verify(stores, verify))


def _verify(stores: Stores, verify: LastVerify) -> Progress:
    about = max(expected(stores, verify.tables), verify.rows)
    seconds = time.time() - verify.started_at
    rate = verify.rows / seconds if verify.rows and seconds > 0 else None
    return Progress(verify.rows, about, rate, (about - verify.rows) / rate if rate else None)
