"""The threads of a process that work on one queue.

One thread claims, as many jobs as there are free hands; each job then runs in a thread of its own. So claims are
batches under load, and a lone job waits for nobody. An error anywhere (a locked database, a fence that stays up, a
switch in the middle) is logged and waited out; the loop ends only when it is told to.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from sqlalchemy.orm import Session

from app.db.common.failpoints import Failpoint, failpoint
from app.services.shared.jobs import metrics
from app.services.shared.jobs.claim import claim, take_over
from app.services.shared.jobs.dead import state
from app.services.shared.jobs.queue import Floors, Queue
from app.services.shared.jobs.wake import Wake

logger = logging.getLogger(__name__)
TIDY_EVERY_S: Final = 5.0
LONGEST_PAUSE_S: Final = 10.0


def worker_name() -> str:
    """A name that no other worker has, and no earlier one had: at most 64 characters."""
    return f"{socket.gethostname()[:32]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


class Crew:
    """The workers of a queue in this process.

    Args:
        sessions: makes a new session.
        work: does one claimed job, given its id and the name that its claim carries; it stores the outcome itself.
        hands: how many jobs run at the same time.
    """

    def __init__(
        self, queue: Queue, sessions: Callable[[], Session], work: Callable[[int, str], None], hands: int
    ) -> None:
        metrics.begin(queue.name)
        self.queue = queue
        self.name = worker_name()
        self.wake = Wake(queue, sessions)
        self._sessions = sessions
        self._work = work
        self._hands = threading.Semaphore(hands)
        self._count = hands
        self._floors = Floors()
        self._pool = ThreadPoolExecutor(hands, thread_name_prefix=f"jobs-{queue.name}")
        self._stop = threading.Event()
        self._tidied_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name=f"claims-{queue.name}", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self.wake.start()
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Claim no more, and wait for what runs; does nothing to a crew that was not started."""
        self._stop.set()
        self.wake.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        self._pool.shutdown(wait=True, cancel_futures=False)

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                self._tidy()
                if not self._claim():
                    self.wake.wait()
                pause = 0.0
            except Exception as error:  # the jobs stay where they are, and the next look finds them
                logger.warning("jobs of %s could not be claimed: %s", self.queue.name, error)
                pause = min(max(pause, 0.1) * 2, LONGEST_PAUSE_S)

    def _claim(self) -> bool:
        """Claim for every free hand, waiting for one at least; whether there may be more to claim."""
        free = self._free_hands()
        if not free:
            return True
        ids: list[int] = []
        try:
            if not self._stop.is_set():
                with self._sessions() as db:
                    ids = claim(db, self.queue, self.name, free, floors=self._floors)
                    if ids:
                        db.commit()
        except BaseException:
            ids = []
            raise
        finally:
            for _ in range(free - len(ids)):
                self._hands.release()
        if ids:
            failpoint(Failpoint.JOB_CLAIMED)
        for job_id in ids:
            self._pool.submit(self._work, job_id, self.name).add_done_callback(self._ended)
        return bool(ids)

    def _free_hands(self) -> int:
        free = int(self._hands.acquire(timeout=1.0))
        while free and free < self._count and self._hands.acquire(blocking=False):
            free += 1
        return free

    def _ended(self, done: Future[None]) -> None:
        self._hands.release()
        error = done.exception()
        if error is not None:  # the job stays RUNNING, and is taken over when its lease is over
            metrics.ENDED.labels(self.queue.name, "broken").inc()
            logger.error("a job of %s broke", self.queue.name, exc_info=error)

    def _tidy(self) -> None:
        """Free what dead workers left behind, and measure; now and then, because it costs."""
        if time.monotonic() - self._tidied_at < TIDY_EVERY_S:
            return
        self._tidied_at = time.monotonic()
        with self._sessions() as db:
            over = take_over(db, self.queue)
            db.commit()
            state(db, self.queue)
        if over:
            metrics.TAKEN_OVER.labels(self.queue.name).inc(over)
            logger.warning("%s jobs of %s were taken over from dead workers", over, self.queue.name)
