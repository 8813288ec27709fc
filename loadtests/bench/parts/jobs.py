"""Jobs: how many jobs workers claim and note as done per second, on PostgreSQL, beside procrastinate.

Each worker is a process. The work of a job is nothing, so that the queue alone is measured. Each is measured once more while
another session holds a snapshot, as pg_dump does: no vacuum then takes away what claims have left behind. procrastinate
comes into a virtual environment of the run's own, from PyPI; without network its rows are missing, and a note says so.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.db.common.settings import ShimSettings
from app.db.revisions.chain import upgrade_head
from app.db.session.engines import make_engine
from app.models import Order
from app.services.orders.rows import order_row
from app.services.orders.sending.jobs import enqueue_orders
from app.services.shared.bulk import insert_many
from loadtests.bench.lab import candles
from loadtests.bench.lab.lab import Lab, rotated
from loadtests.bench.lab.samples import Part, Samples
from loadtests.show.headline import PROCRASTINATE as OTHER
from loadtests.show.headline import QUEUE as OURS
from loadtests.stage.processes import REPO, kill_group, python_env

PEER = "procrastinate==3.10.0"
CHILD = Path(__file__).parents[1] / "lab" / "other_queue.py"
AT_ONCE = 500  # jobs of one insert
LONGEST_S = 900.0

Start = Callable[[], tuple[list[str], str]]  # the command of a worker, and the database it works on


def run(lab: Lab) -> Part:
    """Every number of workers, with and without a snapshot that stays open."""
    part = Part("jobs", "Jobs claimed and done on PostgreSQL")
    peer = _peer(lab, part.notes)
    schema = lab.database()
    upgrade_head(schema)
    for held in (False, True):
        for workers in lab.sizes.job_workers:
            what = f"{workers} worker{'s' if workers > 1 else ''}" + (", snapshot held" if held else "")
            samples = Samples(what, OTHER)
            for repeat in range(lab.sizes.long_repeats):
                lab.say(f"jobs, {what}: repeat {repeat + 1}")
                for name in rotated([OURS, *([OTHER] if peer else [])], repeat):
                    start = (
                        (lambda: _other(lab, peer))
                        if name == OTHER and peer
                        else (lambda: _ours(lab, schema))
                    )
                    seconds = _measure(lab, start, workers, held=held)
                    samples.add(name, "jobs", "1/s", lab.sizes.jobs / seconds)
            part.figures += samples.figures()
    return part


def _measure(lab: Lab, start: Start, workers: int, *, held: bool) -> float:
    """The seconds from the begin of all workers to the end of the last one."""
    command, url = start()
    lab.settle()
    try:
        with _snapshot(url, held=held), _waiting(lab, command, workers) as children:
            began = time.perf_counter()
            for child in children:
                assert child.stdin is not None
                child.stdin.write(b"\n")
                child.stdin.close()
            codes = [child.wait(LONGEST_S) for child in children]
            seconds = time.perf_counter() - began
        if any(codes):
            raise RuntimeError(f"a worker ended with {codes}; see {lab.base / 'jobs.log'}")
        return seconds
    finally:
        lab.drop(url)


@contextmanager
def _waiting(lab: Lab, command: Sequence[str], workers: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers that are connected and wait for their begin; those that still run at the end are killed."""
    with (lab.base / "jobs.log").open("ab") as log:
        children = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=python_env({}), cwd=REPO,
                start_new_session=True,
            )
            for _ in range(workers)
        ]  # fmt: skip
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        yield children
    finally:
        for child in children:
            if child.poll() is None:
                kill_group(child)
            if child.stdout is not None:
                child.stdout.close()


@contextmanager
def _snapshot(url: str, *, held: bool) -> Iterator[None]:
    """Hold what pg_dump holds: a transaction with a snapshot from before the jobs are done."""
    if not held:
        yield
        return
    with candles.connect(url) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1 FROM pg_class LIMIT 1")
        yield
        connection.execute("COMMIT")


def _ours(lab: Lab, schema: str) -> tuple[list[str], str]:
    url = lab.database(template=schema)
    engine = make_engine(make_url(url), ShimSettings())
    with Session(engine) as db:
        for first in range(0, lab.sizes.jobs, AT_ONCE):
            now = utc_now()
            rows = [_order(number) for number in range(first, min(first + AT_ONCE, lab.sizes.jobs))]
            times = {"synthetic_gtt": False, "created_at": now, "updated_at": now}
            ids = insert_many(db.connection(), Order.__table__, [row | times for row in rows])  # type: ignore[arg-type]
            enqueue_orders(db, [(order_id, False, {}) for order_id in ids], 3600)
        db.commit()
    engine.dispose()
    return [sys.executable, "-m", "loadtests.bench.lab.jobs_child", url], url


def _order(number: int) -> dict[str, object]:
    return order_row(
        user_id=None, strategy_id=None, symbol="NSE:TCS", exchange="NSE", side="BUY", qty=1.0, price=None, mode="AUTO",
        product="MIS", order_type="MARKET", broker_name="zerodha", execution_target="LIVE",
        client_order_id=f"bench-{number}", is_exit=False,
    )  # fmt: skip


def _other(lab: Lab, python: Path) -> tuple[list[str], str]:
    url = lab.database()
    conninfo = lab.server.dsn(url.rpartition("/")[2])
    for words in (["make", conninfo], ["fill", conninfo, str(lab.sizes.jobs)]):
        subprocess.run([str(python), str(CHILD), *words], check=True, capture_output=True, timeout=LONGEST_S)
    return [str(python), str(CHILD), "work", conninfo], url


def _peer(lab: Lab, notes: list[str]) -> Path | None:
    """The Python of an environment with procrastinate; None where it is left out or cannot be had."""
    if not lab.sizes.peers:
        return None
    folder = lab.base / "procrastinate"
    python = folder / "bin" / "python"
    try:
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", PEER, "psycopg[binary]"],
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError):
        notes.append(f"{PEER} could not be installed, so it is not measured.")
        return None
    return python
