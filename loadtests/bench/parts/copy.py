"""Copy: from a SQLite file to PostgreSQL with all keys and indexes, ours, pgloader's and the limit's way.

The limit reads a ready text file into a table without indexes and builds them afterwards: no program
that reads SQLite can be faster on the same server with the same settings.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.rows.catalog import postgres_columns, quote
from app.db.sides import tables
from app.db.sides.postgres import deferred
from loadtests.bench.lab import candles
from loadtests.bench.lab.lab import ROLE, Lab, remove, rotated, timed
from loadtests.bench.lab.pairs import prepare_candles, prepare_sample
from loadtests.bench.lab.samples import Figure, Part, Samples
from loadtests.show.headline import LIMIT, OURS, PGLOADER
from loadtests.stage import sample
from loadtests.stage.processes import REPO, python_env

BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A SQLite file to copy, and the limit's way to copy it."""

    group: str
    path: Path
    prepare: Callable[[Path, str], None]
    limit: Callable[[str], float]


def run(lab: Lab) -> Part:
    """Candles, the sample database, and growth."""
    part = Part("copy", "SQLite to PostgreSQL, ready with keys and indexes")
    rows = lab.sizes.candles
    path = lab.file("candles")
    candles.make(path, rows, seed=lab.seed)
    text = lab.base / "candles.txt"
    candles.write_text(path, text)
    source = Source(f"{rows:,} candles", path, prepare_candles, lambda url: _limit_candles(text, url))
    part.figures += _contest(lab, source, part.notes)
    remove(path)
    text.unlink()
    if lab.sizes.sample:
        part.figures += _contest(lab, _sample(lab), part.notes)
    if lab.sizes.growth:
        part.figures += _growth(lab, lab.sizes.growth)
    return part


def _contest(lab: Lab, source: Source, notes: list[str]) -> list[Figure]:
    samples = Samples(source.group, LIMIT)
    loader = shutil.which("pgloader")
    if loader is None:
        notes.append("pgloader is not installed, so it is not compared (apt-get install pgloader)")
    for repeat in range(lab.sizes.repeats):
        lab.say(f"copy, {source.group}: repeat {repeat + 1}")
        contenders: list[Callable[[], None]] = [
            lambda: _add_limit(lab, source, samples),
            lambda: _add_ours(lab, source, samples),
        ]
        if loader is not None:
            contenders.append(lambda: _add_pgloader(lab, source, samples, loader, notes))
        for contender in rotated(contenders, repeat):
            lab.settle()
            contender()
    return samples.figures()


def _add_limit(lab: Lab, source: Source, samples: Samples) -> None:
    url = lab.database()
    samples.add(LIMIT, "time", "s", source.limit(url))
    lab.drop(url)


def _add_ours(lab: Lab, source: Source, samples: Samples) -> None:
    seconds, memory = ours(lab, source.path, source.prepare)
    samples.add(OURS, "time", "s", seconds)
    samples.add(OURS, "memory", "MB", memory)


def _add_pgloader(lab: Lab, source: Source, samples: Samples, program: str, notes: list[str]) -> None:
    path, url = lab.copy_of(source.path), lab.database()
    target = f"postgresql://{ROLE}:{ROLE}@127.0.0.1:{lab.server.port}/{url.rpartition('/')[2]}"
    finished: list[subprocess.CompletedProcess[str]] = []
    command = [program, "--root-dir", str(lab.base), f"sqlite://{path}", target]
    seconds = timed(
        lambda: finished.append(subprocess.run(command, capture_output=True, text=True, check=False))
    )
    samples.add(PGLOADER, "time", "s", seconds)
    if bad := [line for line in finished[0].stdout.splitlines() if " ERROR " in line]:
        note = f"pgloader reported {len(bad)} errors on {source.group}; the first: {bad[0][28:]}"
        if note not in notes:
            notes.append(note)
    remove(path)
    lab.drop(url)


def ours(lab: Lab, original: Path, prepare_pair: Callable[[Path, str], None]) -> tuple[float, float]:
    """Seconds from the start of backfill to `replicating`, and the peak memory of its processes in MB."""
    path, url = lab.copy_of(original), lab.database()
    prepare_pair(path, url)
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "loadtests.bench.parts.copy_child", f"sqlite:///{path}", url],
        env=python_env({}), cwd=REPO, capture_output=True, text=True, check=True,
    )  # fmt: skip
    result = json.loads(answer.stdout.splitlines()[-1])
    remove(path)
    lab.drop(url)
    return float(result["seconds"]), float(result["memory_mb"])


def _limit_candles(text: Path, url: str) -> float:
    with candles.connect(url) as connection:
        started = time.perf_counter()
        connection.execute(candles.POSTGRES_TABLE.encode())
        _load(connection, "candles", text)
        connection.execute("SET maintenance_work_mem = '256MB'")
        for statement in candles.POSTGRES_KEYS:
            connection.execute(statement.encode())
        connection.execute("ANALYZE")
        return time.perf_counter() - started


def _load(connection: psycopg.Connection[Any], table: str, text: Path) -> None:
    with connection.cursor().copy(f"COPY {quote(table)} FROM STDIN".encode()) as copy, text.open("rb") as f:
        while block := f.read(BLOCK):
            copy.write(block)


def _sample(lab: Lab) -> Source:
    """The sample database; its text files come from a copy that this tool has made."""
    path = lab.file("sample")
    sample.make(path, seed=lab.seed)
    url = lab.database()
    copied = lab.copy_of(path)
    prepare_sample(copied, url)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "loadtests.bench.parts.copy_child", f"sqlite:///{copied}", url],
        env=python_env({}), cwd=REPO, capture_output=True, check=True,
    )  # fmt: skip
    folder = lab.base / "texts"
    folder.mkdir()
    with candles.connect(url) as connection:
        names = [name for name in postgres_columns(connection) if not name.startswith("st_")]
        for name in names:
            with (
                connection.cursor().copy(f"COPY {quote(name)} TO STDOUT".encode()) as copy,
                (folder / name).open("wb") as file,
            ):
                for block in copy:
                    file.write(block)
    remove(copied)
    lab.drop(url)
    return Source(
        f"sample database ({path.stat().st_size / 1e6:.0f} MB)", path, prepare_sample,
        lambda url: _limit_sample(folder, url),
    )  # fmt: skip


def _limit_sample(folder: Path, url: str) -> float:
    upgrade_head(url)
    with candles.connect(url) as connection:
        for statement in tables.create_statements(Side.POSTGRES):
            connection.execute(statement.encode())
        with connection.transaction():
            deferred.drop_foreign_keys(connection)
            deferred.drop_indexes(connection)
            names = [file.name for file in folder.iterdir()]
            connection.execute(f"TRUNCATE {', '.join(map(quote, names))}".encode())
        started = time.perf_counter()
        for name in names:
            _load(connection, name, folder / name)
        for _ in deferred.build_indexes(connection):
            pass
        connection.execute("ANALYZE")
        return time.perf_counter() - started


def _growth(lab: Lab, counts: Sequence[int]) -> list[Figure]:
    """Time per million rows and peak memory as the table grows, once each."""
    samples = Samples("growth of the copy", "")
    for rows in counts:
        lab.say(f"copy, growth: {rows:,} rows")
        path = lab.file("growth")
        candles.make(path, rows, seed=lab.seed)
        lab.settle()
        seconds, memory = ours(lab, path, prepare_candles)
        samples.add(f"{rows:,} rows", "time per million rows", "s", seconds / rows * 1e6)
        samples.add(f"{rows:,} rows", "memory", "MB", memory)
        remove(path)
    return samples.figures()
