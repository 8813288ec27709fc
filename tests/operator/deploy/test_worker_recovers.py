"""Where the backend's role may not recover, the worker does."""

from __future__ import annotations

import threading

from app.db.common.failpoints import Failpoint
from app.db.common.urls import Side
from migration.fill.worker import Worker
from tests.support.dying.zygote import Zygote
from tests.support.fixtures import clone, replicating, templates, zygote  # noqa: F401
from tests.support.pairs import TestPair, wait_until


def test_a_worker_ends_what_a_dead_coordinator_left(replicating: TestPair, zygote: Zygote) -> None:  # noqa: F811
    killed = zygote.run("move", replicating, Side.POSTGRES, failpoints=f"{Failpoint.SWITCH_FENCED}=kill")
    assert killed < 0
    assert replicating.writable_sides() == set()
    replicating.expire_attempt()
    stop = threading.Event()
    worker = Worker(replicating.new_applier(), stop, report=lambda line: None)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: replicating.writable_sides() == {Side.SQLITE})
    finally:
        stop.set()
        thread.join()
