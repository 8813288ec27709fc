"""Each statement of the branch with its length, the locks that it held, and how long others waited for one.

A watcher looks at the locks every few milliseconds. What it cannot see in between is bounded by the length of the
statement, which is told beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy import event

from loadtests.stage.thread import Stoppable

OURS: Final = "sigmatrader-native"
LOOK_S: Final = 0.005
WORTH_TELLING: Final = ("ALTER", "CREATE", "DROP", "ANALYZE")
_LOCKS: Final = f"""
SELECT coalesce(a.application_name = '{OURS}', false), l.granted, l.mode, c.relname,
       coalesce(extract(epoch FROM clock_timestamp() - l.waitstart) * 1000, 0)
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (NOT l.granted OR a.application_name = '{OURS}')
"""
# A writer's lock conflicts with these.
STOPS_WRITERS: Final = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")


@dataclass
class Step:
    """One statement, all times in milliseconds.

    `held`: how long a lock that stops writers was seen; `waited`: for its own lock, at one try; `others_waited`: the
    longest wait of another session for a lock on a table meanwhile.
    """

    statement: str
    began: float
    ms: float = 0.0
    held: float = 0.0
    waited: float = 0.0
    others_waited: float = 0.0
    tries: int = 1

    @property
    def short(self) -> bool:
        """Whether its lock can be held no longer than the statement takes."""
        return self.statement.startswith("ALTER TABLE") and " VALIDATE " not in self.statement


class Watcher(Stoppable):
    """Notes the locks of the step under way."""

    def __init__(self, conninfo: str) -> None:
        super().__init__("locks")
        self._conninfo = conninfo
        self.step: Step | None = None

    def _run(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True, application_name="native-trial") as connection:
            seen: dict[tuple[str, str], float] = {}
            owner: Step | None = None
            while not self._stopping.wait(LOOK_S):
                rows = connection.execute(_LOCKS.encode()).fetchall()
                step, at = self.step, time.monotonic()
                if step is not owner:
                    seen, owner = {}, step
                if step is not None:
                    self._note(step, rows, seen, at)

    def _note(self, step: Step, rows: list[Any], seen: dict[tuple[str, str], float], at: float) -> None:
        for ours, granted, mode, table, waits in rows:
            if not granted and ours:
                step.waited = max(step.waited, float(waits))
            elif not granted:
                step.others_waited = max(step.others_waited, float(waits))
            elif mode in STOPS_WRITERS:
                step.held = max(step.held, (at - seen.setdefault((mode, table), at)) * 1000)


@contextmanager
def watched(conninfo: str) -> Iterator[list[Step]]:
    """The steps of a branch that is run by this process meanwhile."""
    watcher, steps = Watcher(conninfo), list[Step]()

    def before(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.lstrip().startswith(WORTH_TELLING):
            text = " ".join(statement.split())
            if steps and steps[-1].statement == text:
                steps[-1].tries += 1  # its lock was not to be had in time
            else:
                steps.append(Step(text, time.monotonic()))
            watcher.step = steps[-1]

    def after(*_: Any) -> None:
        if watcher.step is not None:
            watcher.step.ms = (time.monotonic() - watcher.step.began) * 1000
            watcher.step = None

    event.listen(sa.Engine, "before_cursor_execute", before)
    event.listen(sa.Engine, "after_cursor_execute", after)
    watcher.start()
    try:
        yield steps
    finally:
        watcher.stop()
        event.remove(sa.Engine, "before_cursor_execute", before)
        event.remove(sa.Engine, "after_cursor_execute", after)
