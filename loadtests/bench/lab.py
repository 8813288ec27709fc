"""Where a benchmark runs: its sizes, its directory, its PostgreSQL server, and what the machine is."""

from __future__ import annotations

import gc
import itertools
import os
import platform
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import psutil

from app.db.apply.round import Applier
from app.db.common.settings import load_settings
from app.db.common.urls import Pair, make_pair, parse_url
from app.db.sides.stores import Stores
from loadtests.bench import candles
from loadtests.embedded import EmbeddedPostgres

ROLE = "bench"  # a role with a plain password: pgloader cannot read every one
LIBRARIES = ("sqlalchemy", "psycopg", "fastapi", "uvicorn", "alembic")


@dataclass(frozen=True)
class Sizes:
    """How much of everything.

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


FULL = Sizes(
    repeats=3, long_repeats=2, candles=2_000_000, sample=True, growth=(1_000_000, 5_000_000, 20_000_000),
    commits=400, threads=(1, 8), capture_rows=100_000, backlog=1_000_000, burst=1_000, requests=160,
    clients=(1, 8, 32, 64), workers=(1, 4), switches=30,
)  # fmt: skip
QUICK = Sizes(
    repeats=2, long_repeats=1, candles=100_000, sample=True, growth=(), commits=100, threads=(1, 8),
    capture_rows=10_000, backlog=50_000, burst=300, requests=100, clients=(1, 8), workers=(2,), switches=6,
)  # fmt: skip
TINY = Sizes(
    repeats=1, long_repeats=1, candles=2_000, sample=False, growth=(), commits=8, threads=(2,),
    capture_rows=200, backlog=600, burst=20, requests=6, clients=(2,), workers=(1,), switches=2,
)  # fmt: skip


class Lab:
    """One run's surroundings; removed on `close`.

    Args:
        sizes: how much to do.
        seed: for all data.
        say: where progress is told.
    """

    def __init__(self, sizes: Sizes, *, seed: int = 1, say: Callable[[str], None] = print) -> None:
        self.sizes = sizes
        self.seed = seed
        self.say = say
        self.base = Path(tempfile.mkdtemp(prefix="st-bench-"))
        self.server = EmbeddedPostgres()
        self._numbers = itertools.count(1)

    def database(self) -> str:
        """The URL of a fresh, empty PostgreSQL database."""
        return self.server.create_database(f"bench_{next(self._numbers)}")

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


def make_applier(path: Path, url: str) -> tuple[Pair, Applier]:
    """A pair and an applier on it; close it with `close_applier`."""
    pair = make_pair(parse_url(f"sqlite:///{path}", name="sqlite"), parse_url(url, name="postgres"))
    return pair, Applier(Stores.open(pair, load_settings()))


def close_applier(applier: Applier) -> None:
    """Close both connections."""
    applier.stores.close()


def machine(server: EmbeddedPostgres) -> dict[str, Any]:
    """What the figures were measured on, and with which versions."""
    with candles.connect(server.url()) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": str(row[0]) if row else "",
        "pgloader": _pgloader_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def sizes_as_json(sizes: Sizes) -> dict[str, Any]:
    """The sizes of a run."""
    return asdict(sizes)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _pgloader_version() -> str | None:
    program = shutil.which("pgloader")
    if program is None:
        return None
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return shown.splitlines()[0].removeprefix("pgloader version ").strip('"') if shown else None


def timed(what: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started
