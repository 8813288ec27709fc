"""The surroundings of one history: a file and a database, the processes on them, and how they are killed.

Processes are forked from one that has everything imported (multiprocessing's fork server): a call of the
command line costs what its work costs. `cold` calls are started as an operator's shell would.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.db.common import failpoints
from app.db.revisions.chain import upgrade_head
from loadtests.stage.embedded import EmbeddedPostgres
from loadtests.stage.processes import python_env
from migration.verbs.cli import main
from tests.core.random.history import clients
from tests.core.random.history.judge import START, Verdict, judge, read_postgres, read_sqlite
from tests.core.random.history.ledger import read

ROWS = 3000
STOP_S = 60.0
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.core.random.history.world", "alembic.command", "app.models"])


def make_template(path: Path) -> None:
    """A file at the schema's head: accounts, counters, lists, and rows that have to be copied."""
    upgrade_head(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        names = [(f"ACC{n}", START) for n in range(clients.ACCOUNTS)]
        names += [(f"CTR{n}", 0.0) for n in range(clients.COUNTERS)]
        connection.executemany(
            "INSERT INTO positions (symbol, product, qty, avg_price) VALUES (?, 'CNC', ?, 0)", names
        )
        connection.executemany(
            "INSERT INTO system_events (level, category, message, details) VALUES ('INFO', 'list', ?, '')",
            [(f"L{n}",) for n in range(clients.LISTS)],
        )
        connection.executemany(
            "INSERT INTO candles (symbol, exchange, timeframe, ts, open, high, low, close, volume) "
            "VALUES ('TCS', 'NSE', '1m', ?, ?, 1, 1, 1, 1)",
            [(f"2026-01-02 03:{n // 60 % 60:02d}:{n % 60:02d}.{n:06d}", n / 7) for n in range(ROWS)],
        )
        connection.commit()


@dataclass(frozen=True)
class Ended:
    """How a call of the command line ended; `code` is negative for a signal."""

    code: int
    message: str
    seconds: float


class World:
    """One file, one database, and the processes on them.

    Args:
        template: the file to begin with.
        server: where the database is made.
        base: an empty directory.
        url: what the processes use to reach the database; None: the server itself.
        dual_write: ST_DUAL_WRITE of the clients.
    """

    def __init__(
        self,
        template: Path,
        server: EmbeddedPostgres,
        base: Path,
        *,
        port: int | None = None,
        dual_write: str = "sync",
    ) -> None:
        self.base = base
        self.path = base / "app.db"
        shutil.copy(template, self.path)
        self.server = server
        self.database = f"w_{uuid.uuid4().hex[:10]}"
        self.url = server.create_database(self.database)
        if port is not None:
            self.url = self.url.replace(f":{server.port}/", f":{port}/")
        self.env = {
            "ST_DATABASE_URL": f"sqlite:///{self.path}",
            "ST_SHADOW_DATABASE_URL": self.url,
            "ST_DUAL_WRITE": dual_write,
            "ST_PG_CONNECT_TIMEOUT_S": "2",
        }
        self._clients: Any = None
        self._generation = 0

    # -- clients ----------------------------------------------------------------------------------

    def start_clients(self, seed: int, *, sessions: int = 2, raw: int = 2) -> None:
        """Start the clients, or new ones in place of killed ones."""
        self._generation += 1
        name = f"g{self._generation}"
        arguments = (
            name,
            str(self.base / f"{name}.jsonl"),
            str(self.path),
            self.url,
            seed + self._generation,
        )
        self._clients = _context.Process(
            target=_child,
            args=(self.env, str(self.base / "clients.log"), "clients", (*arguments, sessions, raw)),
        )
        self._clients.start()

    def kill_clients(self) -> None:
        """kill -9 for all of them."""
        self._clients.kill()
        self._clients.join()

    def stop_clients(self) -> None:
        """They finish what they are at and end."""
        self._clients.terminate()
        self._clients.join(STOP_S)
        if self._clients.is_alive():
            self.kill_clients()
            raise AssertionError("the clients hang")

    # -- the command line -------------------------------------------------------------------------

    def call(
        self,
        *arguments: str,
        kill_after: float | None = None,
        arm: str = "",
        cold: bool = False,
        timeout: float = 180,
    ) -> Ended:
        """One call of st-migrate, killed after some time if it is told so.

        Raises:
            AssertionError: it did not end in time.
        """
        out = self.base / "call.out"
        out.write_text("")
        env = {**self.env, "ST_FAILPOINTS": arm}
        started = time.monotonic()
        process: Any
        if cold:
            with out.open("wb") as file:
                process = subprocess.Popen(
                    [sys.executable, "-m", "migration", *arguments, "--json"],
                    stdout=file,
                    stderr=file,
                    env=python_env(env),
                    cwd=Path(__file__).resolve().parents[4],
                )
        else:
            process = _context.Process(
                target=_child, args=(env, str(out), "migration", (*arguments, "--json"))
            )
            process.start()
        code = _wait(process, timeout if kill_after is None else kill_after)
        if code is None:
            process.kill()
            code = _wait(process, 30)
            assert kill_after is not None, (
                f"st-migrate {' '.join(arguments)} hangs: {out.read_text(encoding='utf-8')[-1000:]}"
            )
        return Ended(int(code or 0), _message(out.read_text(encoding="utf-8")), time.monotonic() - started)

    # -- the end ----------------------------------------------------------------------------------

    def judge(self) -> Verdict:
        """What came of it; the clients have stopped and the log is drained."""
        ops = read(sorted(self.base.glob("g*.jsonl")))
        dsn = self.server.dsn(self.database)
        return judge(ops, {"sqlite": read_sqlite(str(self.path)), "postgres": read_postgres(dsn)})

    def close(self) -> None:
        """End what still runs and drop the database."""
        if self._clients is not None and self._clients.is_alive():
            self.kill_clients()
        self.server.drop_database(self.database)


def _wait(process: Any, seconds: float) -> int | None:
    """Its exit code, None if it still runs."""
    if isinstance(process, subprocess.Popen):
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
    process.join(seconds)
    code: int | None = process.exitcode
    return code


def _message(output: str) -> str:
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            return str(json.loads(line).get("message", ""))
    return output[-300:]


def _child(env: dict[str, str], out: str, what: str, arguments: tuple[Any, ...]) -> None:
    """In the forked process: take the environment, then be the clients or the command line."""
    for name in [name for name in os.environ if name.startswith("ST_")]:
        del os.environ[name]
    os.environ.update(env)
    failpoints.arm_from_environment()
    with open(out, "ab") as file:  # noqa: PTH123 - a descriptor is wanted
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if what == "clients":
        clients.run(*arguments)
        return
    sys.exit(main(list(arguments)))
