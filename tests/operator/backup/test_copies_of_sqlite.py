"""The copy of SQLite: whole while others write, taken by itself before what changes the file, and put back as documented."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.db.common.errors import Refused
from migration.fill.before import backup
from tests.operator.sides import ALERTS, Cli, Sides

AtStage = Callable[[str], Sides]
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "backup.md").read_text(encoding="utf-8")


@pytest.fixture
def by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Copies are taken by themselves, as they are where nothing is set; returns their folder."""
    monkeypatch.setenv("ST_SQLITE_BACKUP", "")
    return tmp_path / backup.FOLDER


def names(folder: Path) -> list[str]:
    return sorted(re.sub(r"^t_\w{12}-\d{8}-|-\d{8}T.*Z", "", path.name) for path in folder.glob("*"))


def shop(file: Path, mode: str) -> Path:
    """A file of some hundred pages."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("CREATE TABLE pair (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, pad TEXT)")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) "
        "INSERT INTO pair SELECT i, 0, 0, printf('%200d', i) FROM n"
    )
    connection.close()
    return file


@pytest.mark.timeout(30)
def test_a_copy_comes_to_its_end_although_a_commit_follows_each_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PIECE", 50)
    file = shop(tmp_path / "shop.db", "delete")
    own = sqlite3.connect(file, isolation_level=None, timeout=0)
    waits = []

    def commit(*_: object) -> None:
        try:
            own.execute("UPDATE pair SET a = a + 1 WHERE id = 1")
        except sqlite3.OperationalError as error:
            waits.append(error.sqlite_errorcode)

    made = backup.take(file, tmp_path / "kept", advance=commit)
    own.close()
    assert set(waits) == {sqlite3.SQLITE_BUSY}
    copy = sqlite3.connect(made.path)
    assert copy.execute("SELECT a FROM pair WHERE id = 1").fetchone()[0] >= backup.BEGINNINGS
    copy.close()


def test_a_copy_that_was_begun_too_often_starts_from_an_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large file pages are on the disk already, without the first one: no database, for whom opens that."""
    monkeypatch.setattr(backup, "PIECE", 1_000)
    file = shop(tmp_path / "shop.db", "delete")
    own = sqlite3.connect(file, isolation_level=None, timeout=0)
    own.execute("CREATE TABLE large (id INTEGER PRIMARY KEY, content BLOB)")
    own.execute("INSERT INTO large VALUES (1, zeroblob(16000000))")

    def commit(*_: object) -> None:
        with contextlib.suppress(sqlite3.OperationalError):
            own.execute("UPDATE pair SET a = a + 1 WHERE id = 1")

    made = backup.take(file, tmp_path / "kept", advance=commit)
    own.close()
    copy = sqlite3.connect(made.path)
    assert copy.execute("SELECT length(content) FROM large").fetchone() == (16_000_000,)
    assert copy.execute("SELECT a FROM pair WHERE id = 1").fetchone()[0] >= backup.BEGINNINGS
    copy.close()


def test_a_copy_is_whole_while_others_write(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PIECE", 8)  # many pieces, and a commit between any two of them
    file = shop(tmp_path / "shop.db", "wal")
    over, written = threading.Event(), threading.Event()

    def write() -> None:
        own = sqlite3.connect(file, isolation_level=None, timeout=30)
        step = 0
        while not over.is_set():
            step += 1
            own.execute("UPDATE pair SET a = ?, b = ? WHERE id IN (1, 2000, 4000)", (step, step))
            written.set()
        own.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(60)
        answer = cli("backup", "--sqlite", str(file), "--to", str(tmp_path / "kept"))
    finally:
        over.set()
        writer.join()
    assert (answer.code, answer.outcome) == (0, "copied"), answer
    copy = sqlite3.connect(answer.data["path"])
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = copy.execute("SELECT a, b FROM pair WHERE id IN (1, 2000, 4000)").fetchall()
    assert len(set(rows)) == 1 and rows[0][0] > 0  # one transaction, not parts of two
    copy.close()
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".db"]
    assert Path(answer.data["path"]).stat().st_mode & 0o077 == 0


def test_copies_are_taken_before_prepare_and_before_the_first_cutover_only(
    at_stage: AtStage, by_itself: Path
) -> None:
    sides = at_stage("fresh")
    assert sides.run("prepare").outcome == "prepared"
    assert names(by_itself) == ["before-prepare.db"]
    for verb in ("prepare", "backfill", "verify"):
        assert sides.run(verb).code == 0
    assert sides.run("cutover", "--dry-run").code == 0
    assert names(by_itself) == ["before-prepare.db"]
    sides.sqlite("UPDATE alerts SET qty = 77 WHERE id = 9")
    for verb in ("cutover", "rollback", "cutover"):
        assert sides.run(verb).outcome == "moved"
    assert names(by_itself) == ["before-cutover.db", "before-prepare.db"]
    kept = sqlite3.connect(next(by_itself.glob("*before-cutover*")))
    assert kept.execute("SELECT qty FROM alerts WHERE id = 9").fetchone() == (77,)
    kept.close()


def test_a_container_with_a_new_name_takes_no_second_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ST_SQLITE_BACKUP", "")
    file = shop(tmp_path / "shop.db", "wal")
    said: list[str] = []
    for host in ("0a1b2c3d4e5f", "f5e4d3c2b1a0"):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        backup.before("prepare", file, said.append)
    assert len(list((tmp_path / "backups").iterdir())) == 1
    assert "0 minutes old" in said[1]


def test_a_copy_is_not_taken_for_one_of_another_file_with_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ST_SQLITE_BACKUP", str(tmp_path / "kept"))
    said: list[str] = []
    files = [tmp_path / name / "app.db" for name in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        assert backup.before("cutover", shop(file, "wal"), said.append) is not None
    assert backup.before("cutover", files[0], said.append) is None
    assert "0 minutes old: what was written since is not in it" in said[-1]


def test_a_disk_without_room_stops_prepare_before_anything_is_changed(
    at_stage: AtStage, by_itself: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = at_stage("fresh")

    class Full:
        free = 1000

    monkeypatch.setattr("migration.fill.before.backup.shutil.disk_usage", lambda _: Full)
    answer = sides.run("prepare")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert "ST_SQLITE_BACKUP" in answer.data["hint"]
    assert sides.traces() == ([], []) and names(by_itself) == []
    monkeypatch.setenv("ST_SQLITE_BACKUP", "off")
    assert sides.run("prepare").outcome == "prepared"


def test_what_a_killed_command_left_is_named_and_then_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = (shop(tmp_path / name, "wal") for name in ("shop.db", "other.db"))
    kept = tmp_path / "kept"
    backup.take(file, kept)
    marks = backup._stem(file, kept, ""), backup._stem(other, kept, "")
    begun, left, of_other = (kept / f"{mark}copy-{n}.db.partial" for n, mark in enumerate([marks[0], *marks]))
    for path in (begun, left, of_other):
        path.touch()
    for path in (left, of_other):
        os.utime(path, (0, 0))
    backup.take(file, kept)
    assert (begun.exists(), left.exists(), of_other.exists()) == (True, False, True)

    class Full:
        free = 1000

    monkeypatch.setattr("migration.fill.before.backup.shutil.disk_usage", lambda _: Full)
    with pytest.raises(Refused) as refused:
        backup.take(file, kept)
    assert f"delete {begun.name}" in (refused.value.hint or "")


def test_a_damaged_file_gives_no_copy(tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "shop.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"{n:0200d}") for n in range(500)])
    connection.commit()
    connection.close()
    with file.open("r+b") as raw:
        raw.seek(4096 * 5)
        raw.write(b"\xff" * 512)
    answer = cli("backup", "--sqlite", str(file), "--to", str(tmp_path / "kept"))
    assert (answer.code, answer.data["error"]) == (3, "BackupFailed"), answer
    assert list((tmp_path / "kept").iterdir()) == []
    answer = cli("backup", "--sqlite", str(file.with_name("other.db")), "--to", str(tmp_path / "unused"))
    assert (answer.code, "there is no SQLite file" in answer.data["message"]) == (2, True)
    assert not (tmp_path / "unused").exists()


def restore(sides: Sides, kept: Path) -> None:
    """The commands of docs/backup.md, with these files in them."""
    (block,) = re.findall(r"```\n(rm -f .*?)```", PAGE, re.DOTALL)
    block = re.sub(r"\S+/backups/\S+\.db", str(kept), block).replace("/data/sigma_trader.db", str(sides.path))
    subprocess.run(["/bin/sh", "-euc", block], check=True)


@pytest.mark.parametrize("moment", ["prepare", "cutover"])
def test_a_copy_is_put_back_as_documented(at_stage: AtStage, by_itself: Path, moment: str) -> None:
    sides = at_stage("fresh")
    before: list[Any] = sides.sqlite("SELECT * FROM alerts ORDER BY id")
    assert sides.run("run", "--cutover").outcome == "moved"
    sides.postgres("UPDATE alerts SET qty = 0")
    restore(sides, next(by_itself.glob(f"*before-{moment}*")))
    if moment == "cutover":  # it carries the marks of a move that nobody goes on with
        gone = ("--postgres", "postgresql://sigma@127.0.0.1:1/gone")
        assert sides.cli("abort", "--without-postgres", "--sqlite", str(sides.path), *gone).code == 0
    assert sides.sqlite("SELECT * FROM alerts ORDER BY id") == before and len(before) == ALERTS
    assert sides.writable("sqlite") and sides.traces()[0] == []
