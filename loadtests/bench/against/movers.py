"""Who moves a file, and how: this tool, and pgloader in its two ways. Each gets a copy of the file and a new database."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.lab.lab import ROLE, Lab
from loadtests.stage.processes import REPO, python_env

OURS = "this tool"
ALONE = "pgloader, its own tables"
INTO = "pgloader, the application's tables"
_DATA_ONLY = """LOAD DATABASE FROM sqlite://{path} INTO {target}
WITH data only, include no drop, create no tables, create no indexes, truncate, disable triggers, reset sequences;
"""


@dataclass(frozen=True)
class Moved:
    """One move: its time, whether its command said that it went well, and what it complained of."""

    seconds: float
    exit_code: int
    said: list[str]


def ours(lab: Lab, path: Path, url: str, schema: str) -> Moved:
    """`run --cutover`: prepare, copy, compare every row, make PostgreSQL primary."""
    done, seconds = _timed(
        [sys.executable, "-W", "ignore", "-m", "migration", "run", "--cutover", "--json", "--schema", schema,
         "--sqlite", str(path), "--postgres", url]
    )  # fmt: skip
    answer = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"error": done.stderr[-400:]}
    said = [] if done.returncode == 0 else [json.dumps(answer)[:400]]
    return Moved(seconds, done.returncode, said)


def alone(lab: Lab, path: Path, url: str, schema: str) -> Moved:
    """pgloader as its manual begins: it makes the tables, with its default rules for types."""
    return _pgloader(lab, [f"sqlite://{path}", _target(lab, url)])


def into(lab: Lab, path: Path, url: str, schema: str) -> Moved:
    """pgloader for the data alone, into the tables that the application has made."""
    commands = lab.base / f"{path.stem}.load"
    commands.write_text(_DATA_ONLY.format(path=path, target=_target(lab, url)), encoding="utf-8")
    return _pgloader(lab, [str(commands)])


MOVERS: dict[str, Callable[[Lab, Path, str, str], Moved]] = {OURS: ours, ALONE: alone, INTO: into}


def _target(lab: Lab, url: str) -> str:
    return f"postgresql://{ROLE}:{ROLE}@127.0.0.1:{lab.server.port}/{url.rpartition('/')[2]}"


def _pgloader(lab: Lab, arguments: list[str]) -> Moved:
    done, seconds = _timed(["pgloader", "--root-dir", str(lab.base), *arguments])
    lines = (done.stdout + done.stderr).splitlines()
    errors = [line for line in lines if " ERROR " in line or " FATAL " in line or "KABOOM" in line]
    said = (
        [f"{len(errors)} errors; the first: {errors[0].split(maxsplit=1)[-1].strip()[:200]}"]
        if errors
        else []
    )
    if done.returncode and not said:
        said = [" ".join(lines[-12:])[:400]]
    return Moved(seconds, done.returncode, said)


def _timed(command: list[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    started = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=python_env({}), cwd=REPO, timeout=1800
    )
    return done, time.perf_counter() - started
