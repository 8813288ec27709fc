"""kill -9 in the middle of a verify, and everything else that ends a run before its time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.db.apply.compare import Mismatch
from app.db.common.errors import SchemaDrift, StaleAttempt
from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.db.common.urls import Side
from app.db.sides.phase import actor
from migration.common.pace import Limits, store_limits
from migration.verify import run as verify
from migration.verify.run import Verify
from tests.data.verify.small_pair import BARS, SmallPair

ROOT = Path(__file__).resolve().parents[3]


def kill_at(pair: SmallPair, chunk: int | None = None) -> None:
    """Run a verify in another process that does not live to see its end."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'backend'}{os.pathsep}{ROOT}"}
    if chunk is None:
        environment["ST_FAILPOINTS"] = f"{Failpoint.VERIFY_CHUNK}=kill"
    command = [
        sys.executable,
        Path(__file__).with_name("killed_verify.py"),
        pair.path,
        pair.url,
        str(chunk or 0),
    ]
    killed = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()


def stop_at(pair: SmallPair, chunk: int) -> None:
    """The same within this process: an error at a chunk."""
    with pytest.MonkeyPatch.context() as patch, arm(Failpoint.VERIFY_CHUNK, stopping_at(chunk)):
        patch.setattr(verify, "SAVE_EVERY_S", 0.0)
        with pytest.raises(FailpointError):
            Verify(pair.applier, chunk_rows=20).run()


def stopping_at(chunk: int) -> Callable[[], None]:
    seen = Counter[str]()

    def action() -> None:
        seen["chunks"] += 1
        if seen["chunks"] == chunk:
            raise FailpointError("stopped")

    return action


def record(pair: SmallPair) -> Any:
    rows = pair.applier.stores.postgres.connection.execute(
        "SELECT run, position, rows, mismatches, finished_at IS NOT NULL FROM st_verify WHERE id = 1"
    ).fetchall()
    return rows[0] if rows else None


def test_killed_at_a_chunk_and_finished_by_the_next(either: SmallPair) -> None:
    Verify(either.applier).run()
    last = record(either)
    kill_at(either, 9)
    run, position, rows, _, finished = record(either)
    assert run != last[0] and not finished and rows == 9 * 20
    either.write("UPDATE bars SET price = price WHERE id = 1")
    chunks = Counter[str]()
    result = Verify(either.applier, chunk_rows=20).run(lambda progress: chunks.update([progress.table]))
    assert result.resumed and result.clean and result.run == run
    assert chunks["bars"] == BARS // 20 + 1 - 9
    assert result.rows > BARS
    assert record(either) == (run, position, result.rows, 0, True)


def test_killed_at_every_chunk_by_the_environment(pair: SmallPair) -> None:
    """The named failpoint kills at the first chunk of each process, so each gets one chunk further."""
    Verify(pair.applier).run()
    rows = []
    for _ in range(3):
        kill_at(pair)
        rows.append(record(pair)[2])
    assert rows == [20, 40, 60]
    assert Verify(pair.applier).run().resumed


def test_what_was_found_before_the_kill_is_still_found(either: SmallPair) -> None:
    Verify(either.applier).run()
    either.corrupt("DELETE FROM bars WHERE id = 3")
    either.corrupt("UPDATE parents SET name = 'else' WHERE id = 1")
    stop_at(either, 4)
    assert record(either)[3] == 1
    result = Verify(either.applier).run()
    assert result.resumed
    assert set(result.mismatches) == {
        Mismatch("bars", ("3",), "missing"),
        Mismatch("parents", ("1",), "different", ("name",)),
    }
    assert record(either)[3:] == (2, True)


def test_a_finished_run_is_not_continued(pair: SmallPair) -> None:
    first, second = Verify(pair.applier).run(), Verify(pair.applier).run()
    assert first.run != second.run and not second.resumed


def test_an_unfinished_run_over_another_schema_is_not_continued(pair: SmallPair) -> None:
    stop_at(pair, 4)
    pair.applier.stores.postgres.connection.execute("UPDATE st_verify SET run = 'x-000000000000'")
    assert not Verify(pair.applier).run().resumed


def test_the_log_was_given_up_meanwhile(pair: SmallPair) -> None:
    """trim gave up this run's part of the log - the run must not count."""
    postgres = pair.applier.stores.postgres.connection
    with (
        arm(Failpoint.VERIFY_CHUNK, lambda: postgres.execute("DELETE FROM st_verify")),
        pytest.raises(StaleAttempt, match="part of the log was given up"),
    ):
        Verify(pair.applier).run()
    assert record(pair) is None
    assert Verify(pair.applier).run().clean


def test_a_verify_beside_another_names_the_one_that_finished_first(pair: SmallPair) -> None:
    done = []

    def another() -> None:
        if not done:
            done.append(True)
            done.append(Verify(pair.applier).run().clean)

    with arm(Failpoint.VERIFY_CHUNK, another), pytest.raises(StaleAttempt, match=re.escape(actor())) as ended:
        Verify(pair.applier).run()
    assert done == [True, True] and ended.value.hint == "that one counts: see st-migrate status"


def test_the_sides_are_switched_meanwhile(pair: SmallPair) -> None:
    moved = []

    def switch() -> None:
        if not moved:
            moved.append(True)
            pair.move(Side.POSTGRES)

    with arm(Failpoint.VERIFY_CHUNK, switch), pytest.raises(StaleAttempt, match="the sides were switched"):
        Verify(pair.applier, chunk_rows=20).run()
    assert not record(pair)[4]
    assert Verify(pair.applier).run().clean


def test_a_table_changes_meanwhile(pair: SmallPair) -> None:
    shell = pair.raw_sqlite()
    postgres = pair.applier.stores.postgres.connection

    def migrate() -> None:
        if not [row for row in shell.execute("PRAGMA table_info(empty)") if row[1] == "more"]:
            shell.execute("ALTER TABLE empty ADD COLUMN more INTEGER")
            postgres.execute("ALTER TABLE empty ADD COLUMN more bigint")

    with arm(Failpoint.VERIFY_CHUNK, migrate), pytest.raises(SchemaDrift, match="changed during the verify"):
        Verify(pair.applier).run()
    assert not record(pair)[4]
    shell.execute("ALTER TABLE empty DROP COLUMN more")
    postgres.execute("ALTER TABLE empty DROP COLUMN more")
    shell.close()


def test_a_stored_rate_takes_the_place_of_the_one_given(
    pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[float | None] = set()
    monkeypatch.setattr(verify, "keep_within", lambda limit, rows, began: seen.add(limit()))
    for stored, expected in ((70, 70), (None, 5.0)):
        store_limits(pair.applier.stores.postgres, Limits(None, stored))
        Verify(pair.applier, rate=5.0).run()
        assert seen == {expected}
        seen.clear()
