"""Where a benchmark runs: its sizes, its directory and its PostgreSQL server."""

from __future__ import annotations

import gc
import itertools
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from loadtests.bench.lab import candles
from loadtests.stage.embedded import EmbeddedPostgres

T = TypeVar("T")
ROLE = "bench"  # a role with a plain password: pgloader cannot read every one


@dataclass(frozen=True)
class Sizes:
    """How much of everything. `peers`: other programs that have to be installed first take part.

    `every_mode`: deliveries over HTTP are measured in each mode; otherwise in one of each kind of backend.

    `carry_s`: seconds of finding out how many deliveries a backend carries.

    `turns`: how often this checkout is measured beside another one, with `beside_rows` in a table.

    `long_repeats`: of what takes minutes each. `growth`: row counts whose copy is measured for linearity.
    """

    repeats: int
    long_repeats: int
    candles: int
    sample: bool
    growth: tuple[int, ...]
    commits: int
    threads: tuple[int, ...]
    capture_rows: int
    backlog: int
    burst: int
    requests: int
    clients: tuple[int, ...]
    workers: tuple[int, ...]
    switches: int
    jobs: int
    job_workers: tuple[int, ...]
    peers: bool
    turns: int
    beside_rows: int
    every_mode: bool = True
    carry_s: float = 2.0


FULL = Sizes(
    repeats=3, long_repeats=2, candles=2_000_000, sample=True, growth=(1_000_000, 5_000_000, 20_000_000),
    commits=400, threads=(1, 8), capture_rows=100_000, backlog=1_000_000, burst=1_000, requests=600,
    clients=(1, 8, 32, 64), workers=(1, 4), switches=30, jobs=10_000, job_workers=(1, 2, 4, 8), peers=True,
    turns=3, beside_rows=300_000,
)  # fmt: skip
QUICK = Sizes(
    repeats=2, long_repeats=1, candles=100_000, sample=True, growth=(), commits=100, threads=(1, 8),
    capture_rows=10_000, backlog=50_000, burst=300, requests=100, clients=(1, 8), workers=(2,), switches=6, jobs=1_000,
    job_workers=(1, 2, 4, 8), peers=True, turns=2, beside_rows=100_000,
)  # fmt: skip
TINY = Sizes(
    repeats=1, long_repeats=1, candles=2_000, sample=False, growth=(), commits=8, threads=(2,),
    capture_rows=200, backlog=600, burst=20, requests=6, clients=(2,), workers=(1,), switches=2, jobs=40,
    job_workers=(1,), peers=False, turns=1, beside_rows=600, every_mode=False, carry_s=0.3,
)  # fmt: skip


class Lab:
    """One run's surroundings; removed on `close`.

    Args:
        sizes: how much to do.
        seed: for all data.
        say: where progress is told.
        light: the server waits for no disk: only to see that the parts run.
        before: another checkout to compare with; None for none.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        seed: int = 1,
        say: Callable[[str], None] = print,
        light: bool = False,
        before: Path | None = None,
    ) -> None:
        self.sizes = sizes
        self.before = before
        self.seed = seed
        self.say = say
        self.base = Path(tempfile.mkdtemp(prefix="st-bench-"))
        self.server = EmbeddedPostgres(light=light)
        self._numbers = itertools.count(1)

    def database(self, template: str | None = None) -> str:
        """The URL of a fresh PostgreSQL database: an empty one, or a copy of one that nobody uses."""
        name = f"bench_{next(self._numbers)}"
        if template is None:
            return self.server.create_database(name)
        return self.server.create_database(name, template=template.rpartition("/")[2])

    def file(self, stem: str) -> Path:
        """A path that no other part uses."""
        return self.base / f"{stem}_{next(self._numbers)}.db"

    def copy_of(self, path: Path) -> Path:
        """A fresh copy of a SQLite file that nobody writes."""
        target = self.file(path.stem)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(path, target)
        return target

    def settle(self) -> None:
        """Let what the last contender left be written before the next one begins."""
        gc.collect()
        with candles.connect(self.server.url()) as connection:
            connection.execute("CHECKPOINT")

    def drop(self, url: str) -> None:
        """Remove a database of `database`."""
        self.server.drop_database(url.rpartition("/")[2])

    def __enter__(self) -> Self:
        self.server.start()
        with candles.connect(self.server.url()) as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN SUPERUSER PASSWORD '{ROLE}'".encode())
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.close()
        shutil.rmtree(self.base, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a SQLite file and what belongs to it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def timed(what: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The items in another order at each repeat, so that none is always the first."""
    by %= len(items)
    return [*items[by:], *items[:by]]
