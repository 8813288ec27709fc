"""A verify in a process of its own, which is killed at its Nth chunk.

Usage: killed_verify.py SQLITE_FILE POSTGRES_URL CHUNK (0: at the failpoint that ST_FAILPOINTS arms)
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext

from app.db.apply.round import Applier
from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import load_settings
from app.db.common.urls import make_pair, parse_url
from app.db.sides.stores import Stores
from migration.verify import run as verify


def main(path: str, url: str, chunk: int) -> None:
    """Save after every chunk and die at the given one."""
    verify.SAVE_EVERY_S = 0.0
    pair = make_pair(parse_url(f"sqlite:///{path}", name="test"), parse_url(url, name="test"))
    applier = Applier(Stores.open(pair, load_settings()))
    left = chunk

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with arm(Failpoint.VERIFY_CHUNK, count) if chunk else nullcontext():
        verify.Verify(applier, chunk_rows=20).run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
