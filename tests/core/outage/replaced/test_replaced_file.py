"""A copy is moved over the live SQLite file, or an older one is put back: neither is taken for the file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from app.db.apply.trim import trim
from app.db.common.errors import FileReplaced, NotPrepared
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.session.application.http import ready
from app.db.sides.sqlite.files import FileWatch
from app.db.switch.state.checks import Checks
from app.db.switch.state.observed import Observer
from migration.verify.run import Verify
from migration.watch.status import blocks, gather, next_command
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import PlainTables, TestPair, wait_until

MODES = ("off", "async", "sync", "strict")


def write(name: str) -> None:
    with SessionLocal() as session:
        session.add(Owner(name=name))
        session.commit()


def replace(path: Path) -> Path:
    """What an operator does: a copy, then `mv` of the copy over the live file; the former one stays beside it."""
    kept = path.with_suffix(".former")
    path.with_suffix(".copy").write_bytes(path.read_bytes())
    subprocess.run(["ln", path, kept], check=True)
    subprocess.run(["mv", path.with_suffix(".copy"), path], check=True)
    return kept


@pytest.mark.parametrize("mode", MODES)
def test_writes_are_refused_from_the_next_one_on(
    replicating: TestPair, backend: MakeRuntime, mode: str
) -> None:
    backend(replicating, dual_write=mode)
    write("before")
    kept = replace(replicating.path)
    with pytest.raises(FileReplaced, match=f"{replicating.path} was replaced by another file") as refused:
        write("lost")
    assert refused.value.status_code == 503  # also in an application without a handler of ours
    assert refused.value.headers == {"Retry-After": "2"}
    answer = ready()
    assert answer.status_code == 503 and b"was replaced by another file" in answer.body
    shutil.move(kept, replicating.path)  # the very file: nothing has to be restarted
    write("after")
    assert ready().status_code == 200


def test_nobody_takes_in_the_wal_that_the_former_file_left(
    replicating: TestPair, backend: MakeRuntime
) -> None:
    """SQLite would write its pages into the new file, and remove it: what was acknowledged there is gone then."""
    current = backend(replicating, dual_write="async")
    write("before")
    log = replicating.path.with_name(replicating.path.name + "-wal")
    with ExitStack() as held:
        held.enter_context(current.engine(Side.SQLITE).connect())
        kept, content = replace(replicating.path), log.read_bytes()
        with pytest.raises(FileReplaced):
            held.enter_context(current.engine(Side.SQLITE).connect())
    assert log.read_bytes() == content != b""
    shutil.move(kept, replicating.path)


def test_nothing_is_read_for_a_round_or_the_lag(replicating: TestPair) -> None:
    """Whoever opens the other file may cut the memory under the open one, and reading that ends the process."""
    applier = replicating.new_applier()
    applier.round()
    kept, read = replace(replicating.path), list[str]()
    applier.stores.sqlite.connection.set_trace_callback(read.append)
    for look in (applier.round, applier.behind, applier.has_news):
        with pytest.raises(FileReplaced):
            look()
    assert read == []
    shutil.move(kept, replicating.path)
    applier.round()
    assert read != []


@pytest.mark.parametrize("mode", MODES)
def test_a_transaction_that_is_under_way_is_not_acknowledged(
    replicating: TestPair, backend: MakeRuntime, mode: str
) -> None:
    backend(replicating, dual_write=mode)
    with SessionLocal() as session:
        session.add(Owner(name="under way"))
        session.flush()
        kept = replace(replicating.path)
        with pytest.raises(FileReplaced):
            session.commit()
    shutil.move(kept, replicating.path)
    assert replicating.new_lite().execute("SELECT 1 FROM owner WHERE name = 'under way'").fetchone() is None


@pytest.mark.parametrize("mode", ["async", "sync"])
def test_apply_stands_still_within_a_second(replicating: TestPair, backend: MakeRuntime, mode: str) -> None:
    current = backend(replicating, dual_write=mode)
    write("before")
    replace(replicating.path)
    wait_until(lambda: "was replaced" in (current.replicator.health().error or ""), seconds=1.0)


def test_a_removed_file_is_named(replicating: TestPair, backend: MakeRuntime) -> None:
    backend(replicating, dual_write="sync")
    write("before")
    replicating.path.rename(replicating.path.with_suffix(".away"))
    with pytest.raises(FileReplaced, match="was removed"):
        write("lost")


def lose(path: Path, what: str) -> None:
    if what == "cut":
        os.truncate(path, path.stat().st_size - 4096)
    else:
        path.with_name(path.name + what).unlink()


@pytest.mark.parametrize(
    ("what", "mode"), [("-wal", "off"), ("-wal", "strict"), ("-shm", "sync"), ("cut", "async")]
)
def test_a_file_that_lost_a_part_takes_no_writes(
    replicating: TestPair, backend: MakeRuntime, what: str, mode: str
) -> None:
    """Whoever opens it next has a log or locks of its own: one of the two would overwrite the other's rows."""
    current = backend(replicating, dual_write=mode)
    write("before")
    lose(replicating.path, what)
    with pytest.raises(FileReplaced, match="cut off" if what == "cut" else f"{what} was removed"):
        write("lost")
    answer = ready()
    assert (answer.status_code == 503 and b"cut off" in answer.body) or b"was removed" in answer.body
    current.stop()


def test_a_part_that_only_the_parent_has_open_is_none_of_a_child(tmp_path: Path) -> None:
    """SQLite removes its log with the parent's last connection; what a fork left open in the child is no loss."""
    path = tmp_path / "forked.db"
    parent = sqlite3.connect(path)
    parent.executescript("PRAGMA journal_mode = wal; CREATE TABLE t (a)")
    asked, answered = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        os.read(asked[0], 1)
        watch = FileWatch(path)
        watch.begin()
        os.write(answered[1], (watch.problem() or "none").encode())
        os._exit(0)
    parent.close()
    os.write(asked[1], b"x")
    assert os.read(answered[0], 999) == b"none"
    os.waitpid(child, 0)


def test_a_file_that_is_broken_in_its_place_holds_up_no_new_thread(
    promoted: TestPair, backend: MakeRuntime
) -> None:
    backend(promoted, wanted=Side.POSTGRES, dual_write="async")
    write("before")
    promoted.path.write_bytes(b"no database" * 999)
    with ThreadPoolExecutor() as threads:
        threads.submit(write, "on PostgreSQL").result()
        assert threads.submit(ready).result().status_code == 200


def test_an_older_file_leads_no_thread_back_to_it(promoted: TestPair, backend: MakeRuntime) -> None:
    """What replaced the shadow names SQLite as primary. A thread that opens it first must not believe that."""
    backend(promoted, wanted=Side.POSTGRES, dual_write="sync")
    write("before")
    kept = replace(promoted.path)
    with sqlite3.connect(promoted.path) as older:
        older.execute("UPDATE st_control SET primary_side = 'sqlite', writable = 1, epoch = 1")
    older.close()
    with ThreadPoolExecutor() as threads:
        threads.submit(write, "on PostgreSQL").result()
    shutil.move(kept, promoted.path)
    assert promoted.pg.execute("SELECT 1 FROM owner WHERE name = 'on PostgreSQL'").fetchone()


def test_the_new_primary_goes_on_without_it(promoted: TestPair, backend: MakeRuntime) -> None:
    """SQLite is only the shadow: writes go on, and what stands still is named."""
    current = backend(promoted, wanted=Side.POSTGRES, dual_write="sync")
    write("before")
    replace(promoted.path)
    wait_until(lambda: "was replaced" in (current.replicator.health().error or ""))
    write("on PostgreSQL")
    assert ready().status_code == 200


@contextmanager
def put_back(pair: TestPair) -> Iterator[None]:
    """What happens inside is forgotten by the file: afterwards a copy made before is put in its place by `cp`."""
    pair.lite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = pair.path.read_bytes()
    yield
    pair.close()
    for end in ("-wal", "-shm"):
        pair.path.with_name(pair.path.name + end).unlink(missing_ok=True)
    pair.path.write_bytes(kept)


def refusal(pair: TestPair) -> str:
    """Every instrument says the same, and nobody is sent on."""
    status = gather(pair.pair, pair.applier.stores, source=PlainTables())
    checks = [check for check in Checks(pair.applier.stores, PlainTables()).all() if not check.ok]
    file = next(check for check in checks if check.name == "file")
    assert next_command(status) is None and any(file.detail in text for text in blocks(status))
    assert Observer(lambda name: pair.new_stores()).look().state == "standing"
    return file.detail


@pytest.mark.parametrize("later", [0, 50], ids=["at_once", "after_new_writes"])
def test_an_older_file_as_primary_is_recognised(replicating: TestPair, later: int) -> None:
    """Its newer rows stand on PostgreSQL alone. New writes give out the log's numbers a second time."""
    replicating.lite.execute("INSERT INTO counter (n) VALUES (1)")
    replicating.drain()
    with put_back(replicating):
        replicating.lite.execute("UPDATE counter SET n = n + 1")
        replicating.lite.execute("INSERT INTO owner (id, name) VALUES (4711, 'acknowledged')")
        replicating.drain()
        trim(replicating.applier.stores)
    for _ in range(later):
        replicating.lite.execute("UPDATE counter SET n = n + 1")
    before = replicating.contents(Side.POSTGRES)
    with pytest.raises(NotPrepared, match="an older SQLite file was put back"):
        replicating.applier.round()
    assert refusal(replicating).startswith("an older SQLite file was put back")
    assert replicating.contents(Side.POSTGRES) == before


def test_an_older_file_as_shadow_is_recognised(promoted: TestPair) -> None:
    """PostgreSQL's log was trimmed since, so what the file lacks would never come again."""
    promoted.pg.execute("INSERT INTO counter (n) VALUES (1)")
    promoted.drain()
    with put_back(promoted):
        for n in (2, 3):  # the newest entry stays in the log, and its row comes back
            promoted.pg.execute("INSERT INTO counter (n) VALUES (%s)", (n,))
        promoted.drain()
        Verify(promoted.applier).run()
        trim(promoted.applier.stores)
    assert "the last verify has seen changes" in refusal(promoted)
    assert Verify(promoted.applier).run().per_table == {"counter": 1}  # the way out is to verify and repair


def test_a_file_of_a_former_epoch_is_recognised(replicating: TestPair) -> None:
    """It names itself primary, as the pair does by now, and lacks all that PostgreSQL wrote meanwhile."""
    with put_back(replicating):
        replicating.moved(Side.POSTGRES)
        replicating.pg.execute("INSERT INTO counter (n) VALUES (1)")
        replicating.moved(Side.SQLITE)
    assert "it is at epoch 1, the pair at 3" in refusal(replicating)
    with pytest.raises(NotPrepared, match="at epoch 1"):
        replicating.recover()
