"""Threads that come and go, and tasks that are cancelled: what a session leaves behind, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.apply.trim import Trimmer
from app.db.session import SessionLocal
from app.db.session.application import threads
from app.db.session.application.threads import in_thread, threaded
from app.db.session.routed import RoutedSession
from app.db.sides.stores import Stores
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair, wait_until


def test_a_thread_that_has_ended_leaves_no_connection_open(
    replicating: TestPair, backend: MakeRuntime
) -> None:
    backend(replicating, dual_write="off")

    def read() -> None:
        with SessionLocal() as session:
            session.scalars(select(Owner)).all()

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def threads_come_and_go(count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=read)
            thread.start()
            thread.join()

    threads_come_and_go(2)
    before = open_files()
    threads_come_and_go(20)
    assert open_files() <= before + 5


def test_a_task_that_is_cancelled_again_and_again_waits_for_its_operation() -> None:
    """A cancel scope of anyio does so; the next operation, a close, would use the session beside this one."""
    go_on, ended = threading.Event(), threading.Event()

    def operation() -> None:
        assert go_on.wait(60)
        ended.set()

    async def cancelled() -> None:
        task = asyncio.create_task(in_thread(operation))
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        done, _ = await asyncio.wait([task], timeout=0.05)
        assert not done
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(cancelled())


def test_sessions_that_wait_for_a_lock_leave_a_thread_to_the_one_that_holds_it(
    replicating: TestPair, backend: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = backend(replicating, dual_write="off", sqlite_busy_timeout_ms=20_000)
    monkeypatch.setattr(threads, "MOST_THREADS", 2)
    monkeypatch.setattr(threads, "_executors", {})
    kind = threaded(AsyncSession)

    async def write(key: int, begun: asyncio.Event, others_wait: asyncio.Event) -> None:
        async with kind(sync_session_class=partial(RoutedSession, pair=current)) as session:
            await session.execute(text(f"INSERT INTO owner (id, name) VALUES ({key}, 'n{key}')"))
            begun.set()
            await others_wait.wait()
            await session.commit()

    async def many() -> None:
        begun, others_wait, at_once = asyncio.Event(), asyncio.Event(), asyncio.Event()
        at_once.set()
        first = asyncio.create_task(write(900, begun, others_wait))
        await begun.wait()
        others = [asyncio.create_task(write(901 + n, asyncio.Event(), at_once)) for n in range(4)]
        await asyncio.sleep(0)
        others_wait.set()
        await asyncio.wait_for(first, 15)
        await asyncio.gather(*others)

    asyncio.run(many())
    for executor in threads._executors.values():
        executor.shutdown()
    assert replicating.lite.execute("SELECT count(*) FROM owner WHERE id >= 900").fetchone() == (5,)


def test_the_thread_that_follows_outlives_an_error_that_nobody_foresaw(
    replicating: TestPair, backend: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def fail(trimmer: Trimmer, stores: Stores) -> int:
        monkeypatch.undo()
        failed.set()
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr(Trimmer, "trim_if_due", fail)
    backend(replicating, dual_write="async")
    assert failed.wait(60)
    replicating.lite.execute("INSERT INTO owner (id, name) VALUES (900, 'of a stranger')")
    wait_until(lambda: bool(replicating.pg.execute("SELECT 1 FROM owner WHERE id = 900").fetchone()))
