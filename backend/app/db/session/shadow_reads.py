"""ST_SHADOW_READS=compare: a share of the reads is repeated on both sides off the request path.

The request only drops the statement into a small queue, and a full queue drops it. A background thread runs
the statement on primary and shadow and compares the rows. A difference may be a change that is on its way. So
it is looked at again, each time after the shadow has caught up with what the primary held. Only what still
differs then is counted and logged.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import Executable, Select

from app.db.common import metrics
from app.db.common.logs import logger
from app.db.common.urls import Side

log = logger("sigma.db")

QUEUE = 64
TRIES = 3
ROWS = 1_000  # a longer answer is compared as far as this


class ShadowReads:
    """Compares a share of the reads of one process.

    Args:
        rate: share of the reads, 0 to 1.
        engines: the engine of a side.
        primary: the side that is primary now.
        catch_up: waits until the shadow has what the primary holds; False if it does not.
    """

    def __init__(
        self,
        rate: float,
        engines: Callable[[Side], Engine],
        primary: Callable[[], Side],
        catch_up: Callable[[], bool],
    ) -> None:
        self._rate = rate
        self._engines = engines
        self._primary = primary
        self._catch_up = catch_up
        self._queue: queue.Queue[tuple[Executable, Any]] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None

    def offer(self, statement: Executable, parameters: Any) -> None:
        """Maybe repeat a read later; never waits and never fails."""
        if random.random() >= self._rate or not isinstance(statement, Select):
            return
        if statement._for_update_arg is not None:
            return
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="st-shadow-reads", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait((statement, parameters))
        except queue.Full:
            metrics.SHADOW_READS.labels("dropped").inc()

    def drain(self) -> None:
        """Wait until everything offered so far has been compared."""
        self._queue.join()

    def _run(self) -> None:
        while True:
            statement, parameters = self._queue.get()
            try:
                outcome = self._compare(statement, parameters)
            except (SQLAlchemyError, OSError) as error:
                outcome = "failed"
                log.debug("shadow read failed: %s", error)
            finally:
                self._queue.task_done()
            metrics.SHADOW_READS.labels(outcome).inc()
            if outcome == "different":
                metrics.SHADOW_MISMATCHES.inc()
                log.warning("a read gives another answer on the shadow: %s", statement)

    def _compare(self, statement: Executable, parameters: Any) -> str:
        for _ in range(TRIES):
            primary = self._primary()
            if self._rows(primary, statement, parameters) == self._rows(primary.other, statement, parameters):
                return "equal"
            self._catch_up()
        return "different"

    def _rows(self, side: Side, statement: Executable, parameters: Any) -> list[Any]:
        with self._engines(side).connect() as connection:
            rows = [tuple(row) for row in connection.execute(statement, parameters).fetchmany(ROWS)]
        ordered = isinstance(statement, Select) and bool(statement._order_by_clauses)
        return rows if ordered else sorted(rows, key=repr)
