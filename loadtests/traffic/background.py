"""The application's own background work, from a process beside the backend: candles and the job queue.

No endpoint writes these tables; in production a market-data thread and the deployment scheduler do, through
the same sessions as the requests. This process does it with the application's own services, so that a switch
meets a writer that is no web server. It notes what it has committed in a ledger.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import SessionLocal
from app.db.common.errors import SwitchError
from app.models import Candle, StrategyDeployment, StrategyDeploymentJob, User
from app.services.deployments.jobs import claim_next_job, enqueue_job, mark_job_done
from loadtests.traffic.ledger import Fact, Ledger

FIRST_BAR = datetime(2026, 3, 2, 9, 15)
SYMBOLS = ("SBIN", "INFY", "TCS", "ITC")
STORED_TIME = "%Y-%m-%d %H:%M:%S.%f"
RETRY_S = 0.1
GIVE_UP_S = 30.0  # longer than a restart or a switch holds a writer
Result = TypeVar("Result")


class BackgroundWriter:
    """Upserts bars and works through jobs.

    Args:
        ledger: where every write is noted.
        seed: for prices and order.
        prefix: makes this run's jobs its own.
    """

    def __init__(self, ledger: Ledger, seed: int, prefix: str) -> None:
        self.retried = 0
        self._ledger = ledger
        self._random = random.Random(seed)
        self._prefix = prefix
        self._number = 0
        self._deployment, self._owner = self._again(_deployment)

    def work(self, seconds: float, rate: float) -> int:
        """Write for so long, so many times a second; returns how many writes were acknowledged."""
        until, done = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            started = time.monotonic()
            self._random.choice((self.upsert_bar, self.run_job))()
            done += 1
            time.sleep(max(0.0, 1 / rate - (time.monotonic() - started)))
        return done

    def upsert_bar(self) -> None:
        """A new minute, or a correction of one of the last minutes."""
        symbol = self._random.choice(SYMBOLS)
        bar = FIRST_BAR + timedelta(minutes=max(0, self._number - self._random.randint(0, 5)))
        close = round(self._random.uniform(100, 4000), 2)
        self._number += 1
        key = {"symbol": symbol, "exchange": "NSE", "timeframe": "1m"}
        with self._noted("candles", {**key, "ts": bar.strftime(STORED_TIME)}, {"close": close}):
            self._again(lambda db: _upsert(db, {**key, "ts": bar}, close))

    def run_job(self) -> None:
        """Put a job into the queue; claim and finish one; each is a transaction of its own."""
        self._number += 1
        dedupe_key = f"{self._prefix}-{self._number}"
        with self._noted("strategy_deployment_jobs", {"dedupe_key": dedupe_key}, {"attempts": 0}):
            self._again(lambda db: self._enqueue(db, dedupe_key))
        with self._noted("strategy_deployment_jobs", {"dedupe_key": dedupe_key}, {"status": "DONE"}):
            self._again(lambda db: self._finish(db, dedupe_key))

    def _enqueue(self, db: Session, dedupe_key: str) -> None:
        # None: a commit whose acknowledgement was lost had put it there already.
        enqueue_job(
            db, deployment_id=self._deployment, owner_id=self._owner, kind="BAR_CLOSED",
            dedupe_key=dedupe_key, scheduled_for=None, payload={"n": self._number},
        )  # fmt: skip

    @staticmethod
    def _finish(db: Session, dedupe_key: str) -> None:
        claim_next_job(db, worker_id="load")
        job = db.scalars(
            select(StrategyDeploymentJob).where(StrategyDeploymentJob.dedupe_key == dedupe_key)
        ).one()
        mark_job_done(db, job=job)

    @contextmanager
    def _noted(self, table: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[None]:
        self._ledger.write(Fact(table, key, values, acknowledged=False))
        yield
        self._ledger.write(Fact(table, key, values))

    def _again(self, work: Callable[[Session], Result]) -> Result:
        """Do the work in a transaction until it is committed; a switch or a restart may come between.

        Raises:
            SwitchError, DBAPIError: it has failed for so long that no switch explains it.
        """
        until = time.monotonic() + GIVE_UP_S
        while True:
            try:
                with SessionLocal() as db:
                    result = work(db)
                    db.commit()
                    return result
            except (SwitchError, DBAPIError) as error:
                if time.monotonic() >= until:
                    raise
                self.retried += 1
                print(f"again: {str(error).splitlines()[0]}", file=sys.stderr)
                time.sleep(RETRY_S)


def _upsert(db: Session, key: Mapping[str, Any], close: float) -> None:
    row = db.scalars(select(Candle).filter_by(**key)).first()
    if row is None:
        db.add(Candle(**key, open=close, high=close, low=close, close=close, volume=1.0))
    else:
        row.close = close


def _deployment(db: Session) -> tuple[int, int]:
    """(deployment, owner) that the jobs belong to; made if there is none."""
    found = db.execute(select(StrategyDeployment.id, StrategyDeployment.owner_id).limit(1)).first()
    if found is not None:
        return found[0], found[1]
    owner = db.scalars(select(User.id).order_by(User.id).limit(1)).one()
    made = StrategyDeployment(owner_id=owner, name="load", kind="STRATEGY", symbol="SBIN")
    db.add(made)
    db.flush()
    return made.id, owner


def main() -> int:
    """Write for as long as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prefix", required=True)
    options = parser.parse_args()
    ledger = Ledger(options.ledger)
    writer = BackgroundWriter(ledger, options.seed, options.prefix)
    done = writer.work(options.seconds, options.rate)
    print(f"{done} writes, {writer.retried} retried", file=sys.stderr)
    ledger.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
