"""Whatever happens to a run, no row is lost and none is in two archives."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.models import Alert, Order, SystemEvent
from app.retention import archive
from app.retention.archive import FolderInUse
from app.retention.restore import restore
from tests.backend.living.conftest import Store
from tests.backend.living.rows import NOW, add_alert, ids

ROOT = Path(__file__).resolve().parents[4]
POINTS = [point for point in Failpoint if point.startswith("retention.")]
OLD = 120


def _fill(store: Store) -> set[int]:
    with store.sessions() as db:
        made = {add_alert(db, 400, "EXECUTED")[0] for _ in range(OLD)}
        add_alert(db, 1)
        db.commit()
    return made


def _archived(store: Store) -> list[int]:
    table = Alert.__table__
    paths = [path for path in archive.listed(store.folder) if path.parent.name == "alerts"]
    return [line.id for path in paths for line in archive.read(path, table).lines]  # type: ignore[arg-type]


def _nothing_is_lost(store: Store, old: set[int]) -> None:
    with store.sessions() as db:
        there = ids(db, Alert)
    archived = _archived(store)
    assert len(archived) == len(set(archived))
    assert set(archived).isdisjoint(there)
    assert old <= set(archived) | there


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_fails_at_any_point_loses_nothing_and_the_next_one_finishes(
    point: Failpoint, store: Store
) -> None:
    old = _fill(store)
    with arm(point, "raise"), pytest.raises(FailpointError):
        store.retention().run(NOW)
    assert len(archive.pending(store.folder)) == 1
    again = store.retention().run(NOW)
    assert (again.error, again.settled) == (None, 1)
    assert archive.pending(store.folder) == []
    assert sorted(_archived(store)) == sorted(old)
    _nothing_is_lost(store, old)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_batch_is_on_the_disk_under_its_name_before_its_rows_go(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(store)
    on_disk: set[Path] = set()
    fsync = os.fsync

    def noting(number: int) -> None:
        fsync(number)
        on_disk.add(Path(f"/proc/self/fd/{number}").readlink())

    monkeypatch.setattr(os, "fsync", noting)
    with arm(Failpoint.RETENTION_ARCHIVED, "raise"), pytest.raises(FailpointError):
        store.retention().run(NOW)
    (path,) = archive.pending(store.folder)
    names = {path, archive.checksum_of(path), path.parent, store.folder, store.folder.parent}
    assert names <= on_disk
    store.retention().run(NOW)
    done = archive.listed(store.folder)[0]
    restore(store.sessions, done, store.folder, NOW)
    assert {"status.json.new", f"{done.name}.json.new"} <= {path.name for path in on_disk}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_the_command_killed_at_any_point_loses_nothing(point: Failpoint, store: Store) -> None:
    old = _fill(store)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ST_")} | {
        "ST_DATABASE_URL": store.url,
        "ST_RETENTION_DIR": str(store.folder),
        "PYTHONPATH": str(ROOT / "backend"),
    }
    command = [sys.executable, "-m", "app.retention", "--json", "run"]
    armed = {**environment, "ST_FAILPOINTS": f"{point}=kill"}
    killed = subprocess.run(
        command, env=armed, capture_output=True, timeout=60, check=False, cwd=store.folder.parent
    )
    assert killed.returncode == -signal.SIGKILL
    again = store.retention().run(NOW)
    assert (again.error, again.settled) == (None, 1)
    assert sorted(_archived(store)) == sorted(old)
    _nothing_is_lost(store, old)


def test_a_row_that_changes_after_it_was_archived_stays(store: Store) -> None:
    old = _fill(store)
    changed = min(old)

    def change() -> None:
        with store.sessions() as db:
            db.execute(update(Alert).where(Alert.id == changed).values(reason="looked at"))
            db.commit()

    with arm(Failpoint.RETENTION_ARCHIVED, change):
        first = store.retention().run(NOW)
    assert first.rules["alerts"].changed == 1
    with store.sessions() as db:
        assert db.get_one(Alert, changed).reason == "looked at"
    _nothing_is_lost(store, old)
    assert store.retention().run(NOW).error is None
    assert sorted(_archived(store)) == sorted(old)


def test_an_order_that_opens_after_the_archive_was_written_keeps_its_alert(store: Store) -> None:
    old = _fill(store)

    def reopen() -> None:
        with store.sessions() as db:
            first = db.scalars(select(Order).order_by(Order.id).limit(1)).one()
            first.status = "WAITING"
            db.commit()

    with arm(Failpoint.RETENTION_ARCHIVED, reopen):
        store.retention().run(NOW)
    store.retention().run(NOW)
    with store.sessions() as db:
        first = db.scalars(select(Order).order_by(Order.id).limit(1)).one()
        assert first.alert_id == min(old)
    _nothing_is_lost(store, old)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_rows_that_somebody_else_holds_are_left_for_another_time(store: Store) -> None:
    old = _fill(store)
    with store.sessions() as holder:
        holder.execute(select(Alert).where(Alert.id == min(old)).with_for_update())
        result = store.retention().run(NOW)
        assert (result.error, result.rules["alerts"].changed) == (None, 1)
        holder.rollback()
    _nothing_is_lost(store, old)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_locked_file_ends_the_run_with_its_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = _fill(store)

    def locked() -> None:
        raise OperationalError("DELETE", None, Exception("database is locked"))

    with arm(Failpoint.RETENTION_BEFORE_COMMIT, locked):
        result = store.retention().run(NOW)
    assert result.error == "database is locked"
    assert store.retention().run(NOW).settled == 1
    _nothing_is_lost(store, old)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_damaged_pending_file_is_put_aside_and_its_rows_are_archived_again(store: Store) -> None:
    old = _fill(store)
    with arm(Failpoint.RETENTION_ARCHIVED, "raise"), pytest.raises(FailpointError):
        store.retention().run(NOW)
    (torn,) = archive.pending(store.folder)
    torn.write_bytes(torn.read_bytes()[:-9])
    result = store.retention().run(NOW)
    assert result.damaged == (torn.name,)
    assert (store.folder / "damaged" / torn.name).exists()
    assert sorted(_archived(store)) == sorted(old)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_two_runs_do_not_share_a_folder(store: Store) -> None:
    _fill(store)
    refused: list[BaseException] = []

    def second() -> None:
        try:
            store.retention().run(NOW)
        except FolderInUse as error:
            refused.append(error)

    def meanwhile() -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    with arm(Failpoint.RETENTION_ARCHIVED, meanwhile):
        assert store.retention().run(NOW).error is None
    assert len(refused) == 3


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_a_full_disk_ends_the_run_and_leaves_nothing_half_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, write = _fill(store), archive._write

    def full(path: Path, content: bytes) -> None:
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(archive, "_write", full)
        ended = store.retention().run(NOW)
    assert "No space left" in (ended.error or "")
    assert ended.rows == 0
    with store.sessions() as db:
        assert old <= ids(db, Alert)
        told = db.scalars(select(SystemEvent.details).where(SystemEvent.category == "retention")).one()
    assert "No space left" in (told or "")
    again = store.retention().run(NOW)
    assert (again.error, again.damaged, archive.pending(store.folder)) == (None, (), [])
    assert sorted(_archived(store)) == sorted(old)


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_runs_of_two_hosts_take_each_row_once(store: Store) -> None:
    """They know nothing of each other's folder: the rows themselves decide."""
    old, folder = _fill(store), store.folder
    other = Store(store.url, store.engine, store.sessions, folder.parent / "other", store.settle)
    with arm(Failpoint.RETENTION_ARCHIVED, lambda: _once(other)):
        first = store.retention().run(NOW)
    assert (first.error, first.rules["alerts"].rows) == (None, 0)
    assert archive.pending(folder) == []
    assert sorted(_archived(other)) == sorted(old)
    _nothing_is_lost(other, old)


def _once(store: Store) -> None:
    if not store.folder.exists():
        assert store.retention().run(NOW).error is None
