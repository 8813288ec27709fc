"""What the console costs the databases: it watches a verified pair, and the processor time of its session is read.

    python -m loadtests.run.watching [SECONDS]

The session of PostgreSQL is charged with all that the console asks there. SQLite is part of the console's own process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.db.common.urls import make_pair, parse_url
from app.db.sides.stores import Stores
from loadtests.run.screenshots import TOOL, environment
from loadtests.stage import sample
from loadtests.stage.embedded import EmbeddedPostgres
from migration.common.sides import open_stores
from migration.console.run import Settings, running

SETTLED_S = 10.0  # what opens and looks for the first time is not counted


def main() -> int:
    """Measure and print; the exit code is 1 if PostgreSQL spends 1 % of a core or more."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120.0
    with tempfile.TemporaryDirectory() as scratch, EmbeddedPostgres(light=True) as server:
        path = Path(scratch, "sigma_trader.db")
        sample.make(path)
        url = server.create_database("sigma")
        for verb in ("prepare", "backfill", "verify"):
            words = [*TOOL, verb, "--sqlite", str(path), "--postgres", url]
            subprocess.run(words, env=environment(), check=True, stdout=subprocess.DEVNULL)
        pair = make_pair(parse_url(f"sqlite:///{path}", name="--sqlite"), parse_url(url, name="--postgres"))
        sessions: set[int] = set()

        def opened() -> Stores:
            stores = open_stores(pair)
            sessions.add(stores.postgres.connection.info.backend_pid)
            return stores

        with running(Settings(pair, opened, [])):
            time.sleep(SETTLED_S)
            (session,) = sessions
            began, theirs, ours = time.monotonic(), _spent(session), time.process_time()
            time.sleep(seconds)
            took = time.monotonic() - began
            theirs, ours = (_spent(session) - theirs) / took, (time.process_time() - ours) / took
    print(f"PostgreSQL: {theirs:.2%} of a core; the console itself, with SQLite: {ours:.2%}")
    return int(theirs >= 0.01)


def _spent(process: int) -> float:
    """Seconds of processor time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
