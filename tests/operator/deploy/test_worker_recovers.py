"""What a dead coordinator left: the worker ends it where the backend's role may not, and tells of it."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.db.common.failpoints import Failpoint
from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.session.replicator.follower import Follower
from app.db.sides.control import postgres_control
from app.db.sides.phase import record
from app.db.switch.moments import Moments
from app.db.switch.state.untold import GRACE_S, note_begun, take_over
from migration.fill.worker import Worker
from migration.verbs.cli import main
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair, wait_until

KILLED = "before-fence postgres"


@contextmanager
def working(pair: TestPair, moments: Moments) -> Iterator[None]:
    """Two workers of a pair, until the block ends."""
    stop = threading.Event()
    workers = [Worker(pair.new_applier(), stop, report=lambda line: None, moments=moments) for _ in range(2)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_worker_ends_what_a_dead_coordinator_left(replicating: TestPair, zygote: Zygote) -> None:
    killed = zygote.run("move", replicating, Side.POSTGRES, failpoints=f"{Failpoint.SWITCH_FENCED}=kill")
    assert killed < 0
    assert replicating.writable_sides() == set()
    replicating.expire_attempt()
    with working(replicating, Moments(None)):
        wait_until(lambda: replicating.writable_sides() == {Side.SQLITE})


@pytest.mark.parametrize(
    ("point", "end"),
    [
        (Failpoint.SWITCH_BEGUN, "on-abort postgres"),
        (Failpoint.SWITCH_COMMITTED, "after-promote postgres"),
        (Failpoint.SWITCH_DONE, "after-promote postgres"),
    ],
)
def test_a_worker_tells_once_of_a_switch_whose_process_died(
    replicating: TestPair,
    zygote: Zygote,
    tmp_path: Path,
    point: Failpoint,
    end: str,
) -> None:
    told = tmp_path / "told"
    command = shlex.join(["sh", "-c", f'echo "$ST_FACT_MOMENT $ST_FACT_TO" >>{told}'])
    killed = zygote.run("told_move", replicating, Side.POSTGRES, command, failpoints=f"{point}=kill")
    assert killed < 0 and told.read_text(encoding="utf-8").splitlines() == [KILLED]
    replicating.expire_attempt()
    moments = Moments(ShimSettings(hook_after_promote=command, hook_on_abort=command))
    with working(replicating, moments):
        wait_until(lambda: len(told.read_text(encoding="utf-8").splitlines()) > 1, seconds=60)
    assert told.read_text(encoding="utf-8").splitlines() == [KILLED, end]
    assert take_over(replicating.new_stores()) is None


def test_a_backend_tells_of_a_switch_whose_process_died(
    replicating: TestPair,
    zygote: Zygote,
    tmp_path: Path,
) -> None:
    zygote.run("told_move", replicating, Side.POSTGRES, "true", failpoints=f"{Failpoint.SWITCH_DONE}=kill")
    settings = ShimSettings(hook_after_promote=f"touch {tmp_path}/told")
    follower = Follower(replicating.pair, settings, warm_up=lambda: None)
    follower.start()
    try:
        wait_until((tmp_path / "told").exists, seconds=60)
    finally:
        follower.stop()


@pytest.mark.parametrize("verb", ["recover", "cutover"])
def test_the_next_command_tells_once_of_a_switch_whose_process_died(
    replicating: TestPair,
    zygote: Zygote,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    told = tmp_path / "told"
    monkeypatch.setenv("ST_HOOK_AFTER_PROMOTE", f"sh -c 'echo $ST_FACT_PRIMARY $ST_FACT_EPOCH >>{told}'")
    zygote.run(
        "told_move", replicating, Side.POSTGRES, "true", failpoints=f"{Failpoint.SWITCH_COMMITTED}=kill"
    )
    for _ in range(2):
        assert main([verb, "--sqlite", str(replicating.path), "--postgres", replicating.url]) == 0
    assert told.read_text(encoding="utf-8") == "postgres 2\n"


def test_a_switch_that_told_of_its_end_is_nobody_elses(replicating: TestPair, zygote: Zygote) -> None:
    assert zygote.run("told_move", replicating, Side.POSTGRES, "true") == 0
    assert take_over(replicating.new_stores()) is None


def test_a_process_elsewhere_has_time_to_tell(replicating: TestPair, zygote: Zygote) -> None:
    zygote.run("told_move", replicating, Side.POSTGRES, "true", failpoints=f"{Failpoint.SWITCH_DONE}=kill")
    replicating.pg.execute("UPDATE st_history SET evidence = replace(evidence, 'pid:[', 'pid:[elsewhere ')")
    assert take_over(replicating.new_stores()) is None
    replicating.pg.execute("UPDATE st_history SET at = at - 301")
    untold = take_over(replicating.new_stores())
    assert untold is not None and untold.promoted
    assert take_over(replicating.new_stores()) is None


def test_of_two_that_look_the_second_waits_for_the_first(replicating: TestPair) -> None:
    note_begun(replicating.new_stores(), "token", Side.POSTGRES, 1, -2 * GRACE_S)
    first, second = replicating.new_stores().postgres, replicating.new_stores()
    with ThreadPoolExecutor(1) as pool:
        with first.write() as connection:
            postgres_control(connection, lock=True)
            looking = pool.submit(take_over, second)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            wait_until(lambda: looking.done() or replicating.pg.execute(waiting.encode()).fetchone())
            record(connection, "on-abort told", 1, {"telling": "token"})
        assert looking.result() is None
