"""A queue is a table with the columns of a job; which table, in which order, and for how long a claim holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Table

WHOLE_EVERY_S: Final = 1.0
# The states of a job, as the column `status` has them.
PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
DONE: Final = "DONE"
DEAD: Final = "FAILED"  # a dead letter: no worker takes it, a person may repeat it
OPEN: Final = (PENDING, RUNNING)


@dataclass(frozen=True, eq=False)
class Queue:
    """A queue of jobs.

    Args:
        name: what metrics and messages call it.
        table: has `id`, `status`, `run_after`, `attempts`, `max_attempts`, `locked_by`, `locked_at`, `last_error` and
            `updated_at`, and partial indexes on the open and on the running jobs.
        turn: the columns that say which job is first.
        lease: how long a claim holds unless it is renewed.
        priorities: the condition of each priority, the first ones first, written so that partial indexes are found; empty
            for a queue without priorities. With `Floors` the turn within a priority is the id.
    """

    name: str
    table: Table
    turn: tuple[str, ...]
    lease: timedelta
    priorities: Mapping[int, ColumnElement[bool]] = field(default_factory=dict)

    @property
    def channel(self) -> str:
        """Where PostgreSQL tells of new jobs."""
        return f"st_jobs_{self.name}"

    @property
    def columns(self) -> Any:
        """The table's columns."""
        return self.table.c


@dataclass
class Floors:
    """Below which id nothing is open, by priority: what one process has seen lately.

    A claim makes the former version of a row dead. While a long transaction (a dump) runs, no vacuum takes
    the dead versions away, and a claim that begins at the front would walk over all of them again. It begins
    at the floor. Jobs that come back lie below it, so now and then one claim looks at everything.
    """

    ids: dict[int, int] = field(default_factory=dict)
    looked_at: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)

    def for_claim(self) -> dict[int, int]:
        """The floors, none of them if it is time to look at everything."""
        with self.lock:
            if time.monotonic() - self.looked_at >= WHOLE_EVERY_S:
                self.looked_at = time.monotonic()
                self.ids.clear()
            return dict(self.ids)

    def raise_to(self, priority: int, ids: Sequence[int]) -> None:
        """The jobs of a claim are the first ones that were open."""
        with self.lock:
            if ids:
                self.ids[priority] = max(self.ids.get(priority, 0), min(ids))

    def forget(self) -> None:
        """The next claim looks at everything."""
        with self.lock:
            self.looked_at = float("-inf")
