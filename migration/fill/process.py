"""One more process of the copy: it takes ranges from the same list until none is left.

`python -m migration.fill.process` is a program of its own. A child of multiprocessing would first import all
of the command line again, which takes longer than copying a hundred thousand rows. What it needs to know,
passwords among it, comes by standard input as JSON. The reason of a failure goes to standard output.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":  # before the long imports: Ctrl-C reaches the one who started it, and ends it
    signal.signal(signal.SIGINT, signal.SIG_IGN)

import json
import os
import subprocess
import sys
from dataclasses import asdict

from sqlalchemy import URL

from app.db.apply.round import Applier
from app.db.common.urls import Pair, parse_url
from migration.common.failures import failure, secrets_of
from migration.common.pace import Throttle
from migration.common.plain import any_encoding
from migration.common.sides import open_stores
from migration.fill.backfill import Backfill


def start(pair: Pair, throttle: Throttle) -> subprocess.Popen[str]:
    """Start such a process for a pair, with limits of its own."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    sides = {"sqlite": str(pair.path), "postgres": pair.postgres.render_as_string(hide_password=False)}
    order, process.stdin = process.stdin, None
    assert order is not None
    with order:
        json.dump({**sides, "throttle": asdict(throttle)}, order)
    return process


def main() -> int:
    """The process."""
    any_encoding(sys.stdout)
    order = json.load(sys.stdin)
    sqlite = URL.create("sqlite", database=order["sqlite"])
    postgres = parse_url(order["postgres"], name="url")
    try:
        with open_stores(Pair(sqlite, postgres)) as stores:
            Backfill(Applier(stores), Throttle(**order["throttle"]), together=True).run()
    except Exception as error:  # whatever it is, the process that started this one tells it
        print(failure(error, secrets_of(postgres)).message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
