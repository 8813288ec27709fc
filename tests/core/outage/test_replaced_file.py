"""A copy is moved over the live SQLite file: whoever has the former file open must not write to it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from app.db.common.errors import FileReplaced
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.session.application.http import ready
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair, wait_until

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
    with pytest.raises(FileReplaced, match=f"{replicating.path} was replaced by another file"):
        write("lost")
    answer = ready()
    assert answer.status_code == 503 and b"was replaced by another file" in answer.body
    shutil.move(kept, replicating.path)  # the very file: nothing has to be restarted
    write("after")
    assert ready().status_code == 200


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


def test_the_new_primary_goes_on_without_it(promoted: TestPair, backend: MakeRuntime) -> None:
    """SQLite is only the shadow: writes go on, and what stands still is named."""
    current = backend(promoted, wanted=Side.POSTGRES, dual_write="sync")
    write("before")
    replace(promoted.path)
    wait_until(lambda: "was replaced" in (current.replicator.health().error or ""))
    write("on PostgreSQL")
    assert ready().status_code == 200
