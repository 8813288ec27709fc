"""The one thread of a process that stores deliveries, and what follows when a transaction fails.

- A refusal by a constraint or a value: the group is looked up again and tried again, then in halves, until the
  one that is refused stands alone. That one gets the answer of the refusal, the others are stored.
- A lost acknowledgement: the order of one member tells whether the group was committed. It is never stored twice.
- A database that is busy or away: everybody in the group is answered 503 and nothing of it is stored.
- Too late for some: they are answered 503, and the others are tried again without them.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import psycopg
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.errors import Busy
from app.core.sessions import opened
from app.db.common.errors import Fenced, SwitchError
from app.db.session.engines import is_unavailable
from app.services.webhook.door import metrics
from app.services.webhook.door.group import (
    LEAST_PATIENCE_S,
    AtBroker,
    Auto,
    LostCommit,
    Outcome,
    TooLate,
    store_group,
)
from app.services.webhook.door.line import TOO_MANY, Line
from app.services.webhook.door.outside.threads import Outside
from app.services.webhook.door.waiting import State, Waiting, give_back, tell
from app.services.webhook.lookup import find_earlier

logger = logging.getLogger("sigma.webhook")
LOOK_AGAIN_S: Final = 0.05
_CLASHES: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_LIMIT_OF_ROWS: Final = "54000"  # a value is too long for an index


class Writer:
    """Takes groups from the line and stores them; the thread starts with the first delivery."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self.line = Line()
        self.outside = Outside()

    def join(self, one: Waiting) -> None:
        """Put a delivery in line."""
        self.line.join(one)
        if self._thread is None:
            self._start()

    def stop(self) -> None:
        """Serve those who are in line, then end the thread; the next delivery starts a new one."""
        with self._starting:
            thread, self._thread = self._thread, None
            line, self.line = self.line, Line()
        line.close()
        if thread is not None:
            thread.join(timeout=10)
        self.outside.close()

    def after_fork(self) -> None:
        """In the child: the parent's thread does not exist here, and its deliveries are the parent's."""
        self.__init__()  # type: ignore[misc]

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(self.line,), name="st-webhook-writer", daemon=True
                )
                self._thread.start()

    def _run(self, line: Line) -> None:
        while group := line.take():
            began = time.monotonic()
            try:
                for _call, part in groupby(group, key=lambda one: one.call.identity):
                    self._serve(list(part))
            except BaseException as error:  # a fault of ours: nobody may wait in vain, and the thread goes on
                logger.exception("the writer failed")
                self._fail([one for one in group if one.outcome is None], error)
            seconds = time.monotonic() - began
            line.done(len(group), seconds)
            metrics.GROUP_SIZE.observe(len(group))
            if logger.isEnabledFor(logging.INFO):
                fields = {"deliveries": len(group), "duration_ms": int(seconds * 1000), "in_line": len(line)}
                logger.info("webhook deliveries stored", extra=fields)

    # -- one group --------------------------------------------------------------------------------------

    def _serve(self, group: list[Waiting]) -> None:
        todo = [(group, True)]
        while todo:
            members, again = todo.pop()
            members = self._without_late(members)
            if not members:
                continue
            try:
                outcomes = self._stored(members)
            except TooLate:
                todo.append((members, again))
            except Exception as error:
                give_back(members)
                if _is_unavailable(error):
                    todo += self._refuse(members, error, again)
                elif again and _may_pass(error):
                    todo.append((members, False))
                elif len(members) == 1:
                    self._fail(members, error)
                else:
                    middle = len(members) // 2
                    todo += [(members[middle:], True), (members[:middle], True)]
            else:
                self._settle(outcomes)

    def _refuse(
        self, members: list[Waiting], error: Exception, again: bool
    ) -> list[tuple[list[Waiting], bool]]:
        """Refuse those who may wait no longer; what is to be tried again.

        A lock is waited for no longer than the first of a group may wait. Those who came later still have time.
        """
        soon = time.monotonic() + LEAST_PATIENCE_S  # a wait in whole milliseconds ends a little early
        late = [one for one in members if soon >= one.deadline]
        if not late:
            late = members  # the database said no at once: it is away
        self._fail(late, error)
        return [([one for one in members if one.outcome is None], again)]

    def _stored(self, members: list[Waiting]) -> list[tuple[Waiting, Outcome]]:
        try:
            with opened(members[0].call.sessions) as db:
                return store_group(db, members)
        except LostCommit as lost:
            if self._was_committed(members, lost):
                return lost.outcomes
            raise IntegrityError("COMMIT", {}, lost.cause) from lost  # it was not: try again

    def _was_committed(self, members: list[Waiting], lost: LostCommit) -> bool:
        """Ask for the order until somebody answers or the time of the first member is up."""
        deadline = min(one.deadline for one in members)
        while True:
            try:
                with opened(members[0].call.sessions) as db:
                    found = find_earlier(db, [lost.key]).get(lost.key)
                    return found is not None and found.order_id == lost.order_id
            except (DBAPIError, PoolTimeout, SwitchError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_AGAIN_S)

    def _without_late(self, members: Sequence[Waiting]) -> list[Waiting]:
        """Those that are still in line; one whose time is up is answered here if the clock has not."""
        now = time.monotonic()
        late = [one for one in members if now > one.deadline and one.move(State.IN_LINE, State.LATE)]
        for _one in late:
            metrics.LATE.inc()
        self._fail(late, Busy(TOO_MANY))
        return [one for one in members if one.state is State.IN_LINE]

    def _settle(self, outcomes: list[tuple[Waiting, Outcome]]) -> None:
        told = []
        for one, outcome in outcomes:
            try:
                if isinstance(outcome, AtBroker):
                    self.outside.ask_what_is_held(one, outcome, self.line.rejoin)
                elif isinstance(outcome, Auto):
                    self.outside.dispatch(one, outcome)
                else:
                    one.outcome = outcome
                    told.append(one)
            except Exception as error:  # no thread is to be had; the others are served
                logger.exception("nobody can ask the broker of a delivery")
                one.outcome = one.meanwhile or error
                told.append(one)
        tell(told)

    def _fail(self, members: list[Waiting], error: BaseException) -> None:
        for one in members:
            one.outcome = error
        tell(members)


def _sqlstate(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", error), "sqlstate", None)


def _is_unavailable(error: Exception) -> bool:
    """Whether the database as a whole is busy or away, so that halving the group helps nobody."""
    if isinstance(error, SwitchError):
        return type(error) is not SwitchError and not isinstance(error, Fenced)
    if _sqlstate(error) in _CLASHES or _sqlstate(error) == _LIMIT_OF_ROWS:
        return False
    return is_unavailable(error) or isinstance(error, (sqlite3.OperationalError, psycopg.OperationalError))


def _may_pass(error: Exception) -> bool:
    """Whether the same group may be stored at a second try: somebody else was faster, or in the way."""
    if isinstance(error, DataError):
        return False
    return isinstance(error, (IntegrityError, Fenced)) or _sqlstate(error) in _CLASHES


WRITER: Final = Writer()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WRITER.after_fork)
