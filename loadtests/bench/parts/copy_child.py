"""One measured backfill in a process of its own: prints its seconds and the peak memory of all it started."""

from __future__ import annotations

import json
import resource
import sys
import time

from app.db.apply.round import Applier
from app.db.common.urls import Pair, parse_url
from migration.common.pace import Throttle
from migration.common.sides import open_stores
from migration.fill import run as copying


def main(sqlite: str, postgres: str) -> None:
    """Copy a prepared pair."""
    pair = Pair(parse_url(sqlite, name="sqlite"), parse_url(postgres, name="postgres"))
    with open_stores(pair) as stores:
        started = time.perf_counter()
        copying.backfill(pair, Applier(stores), Throttle(), None, lambda table, rows, expected: None)
        seconds = time.perf_counter() - started
    own, started_ones = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(json.dumps({"seconds": seconds, "memory_mb": (own + started_ones) / 1024}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
