"""A copy of the SQLite file before the move changes it, while the application goes on writing.

`prepare` and the first `cutover` take one by themselves; `st-migrate backup` takes one at any time. Order:
room on the disk is checked, then SQLite's own backup interface copies the pages into a file named `.partial`.
That file is checked and brought to the disk. Only then does it get its name. A file with its name is
therefore a whole copy.

In WAL mode the copy reads one snapshot and nobody waits. In another mode writers go between two pieces, and
each of their commits begins the copy anew. After some beginnings the lock is kept, and writers wait until the
copy ends.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.db.common.errors import ConfigurationError, Refused, SwitchError
from app.db.common.settings import load_settings
from app.db.common.urls import Side
from app.db.sides.sqlite.connection import open_sqlite
from app.db.sides.sqlite.files import to_disk
from app.db.sides.stores import Stores
from migration.common.plain import counted

OFF = "off"
FOLDER = "backups"  # beside the SQLite file, unless ST_SQLITE_BACKUP says another place
PARTIAL = ".partial"
LEFT_S = 86_400.0  # a file that was begun and not touched for so long is left of a command that was killed
FRESH_S = 3600.0  # a command that is repeated within this takes no second copy
PIECE = 2_000  # pages
BEGINNINGS = 5
ROOM = 1.05  # of the file's size

Report = Callable[[str], None]
Advance = Callable[[str, int, int | None], None]


class BackupFailed(SwitchError):
    """The copy was not made, or is not whole. Nothing was changed, and no file has its name."""


class _BegunAnew(Exception):
    """Others write so often that the copy does not come to its end."""


@dataclass(frozen=True)
class Backup:
    """A whole copy. `path` is the file, `bytes` its size, and `seconds` how long copy and check took."""

    path: Path
    bytes: int
    seconds: float


def place(file: Path) -> Path | None:
    """The folder for copies of this file. None where they are switched off. Raises ConfigurationError."""
    said = load_settings().sqlite_backup.strip()
    if said.lower() == OFF:
        return None
    return Path(said) if said else file.absolute().parent / FOLDER


def before(moment: str, file: Path, report: Report) -> Backup | None:
    """Take the copy that belongs to a moment of the move, unless it is switched off or was just taken.

    Raises:
        Refused: there is no room for it.
        BackupFailed, ConfigurationError: see `take`.
    """
    folder = place(file)
    if folder is None:
        report(f"no copy of SQLite is taken before {moment}: ST_SQLITE_BACKUP is off")
        return None
    if fresh := _fresh(folder, f"{_stem(file, folder, moment)}-", file.suffix):
        path, age_s = fresh
        minutes = counted(int(age_s // 60), "minute")
        report(
            f"the copy of SQLite before {moment} is {path}, {minutes} old: what was written since is not in it"
        )
        return None
    made = take(file, folder, moment)
    report(f"SQLite is copied to {made.path}, {made.bytes / 1e6:.0f} MB in {made.seconds:.1f} s, and checked")
    return made


def before_first_cutover(stores: Stores, file: Path, to: Side, report: Report) -> None:
    """`before`, where PostgreSQL becomes primary for the first time."""
    if to is Side.POSTGRES and stores.sqlite.read_control().epoch == 1:
        before("cutover", file, report)


def take(file: Path, folder: Path, moment: str = "copy", advance: Advance | None = None) -> Backup:
    """Copy the file into the folder, which is made if it is missing.

    Args:
        moment: a word for the copy's name.
        advance: called with what is done, pages so far, and pages in all.

    Raises:
        Refused: the disk has no room.
        ConfigurationError: no such file, or the folder cannot be used.
        BackupFailed: the copy was not made, or it is damaged, as the file then is, too.
    """
    started = time.monotonic()
    partial: Path | None = None
    try:
        with closing(open_sqlite(file, busy_timeout_ms=30_000, read_only=True)) as source:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_left(folder, file, time.time() - LEFT_S)
            _require_room(file, folder)
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            target = folder / f"{_stem(file, folder, moment)}-{stamp}{file.suffix}"
            partial = target.with_name(f"{target.name}{PARTIAL}")
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _copy(source, partial, advance)
        _check(partial)
        to_disk(partial)
        partial.rename(target)
        to_disk(folder)
    except OSError as error:
        raise ConfigurationError(
            f"SQLite cannot be copied to {folder}: {error.strerror or error}",
            hint="name a folder in ST_SQLITE_BACKUP, or set it to off",
        ) from None
    except sqlite3.Error as error:
        raise BackupFailed(
            f"SQLite was not copied: {error}", hint="see that the disks work and have room, then repeat"
        ) from error
    finally:
        if partial is not None:
            with suppress(FileNotFoundError):
                partial.unlink()
    return Backup(target, target.stat().st_size, time.monotonic() - started)


def _begun(folder: Path, file: Path) -> list[Path]:
    """Copies of this file that were begun and have no name yet: another command makes them, or was killed."""
    begins = _stem(file, folder, "")
    return [path for path in folder.iterdir() if path.name.startswith(begins) and path.suffix == PARTIAL]


def _remove_left(folder: Path, file: Path, until: float) -> None:
    for path in _begun(folder, file):
        with suppress(OSError):  # another command was faster, or it is no file of ours
            if path.stat().st_mtime < until:
                path.unlink()


def _stem(file: Path, folder: Path, moment: str) -> str:
    """How the names of a file's copies begin: a folder may hold those of other files with the same name.

    The folder beside the file holds no other host's copies. There the host's name is no part of the mark: a container
    has another one each time.
    """
    beside = folder.resolve() == file.resolve().parent / FOLDER
    whose = file.name if beside else f"{socket.gethostname()}:{file.resolve()}"
    digest = hashlib.sha256(whose.encode(errors="surrogateescape")).digest()
    mark = f"{int.from_bytes(digest) % 10**8:08d}"
    before = "before-" if moment in ("prepare", "cutover") else ""
    return f"{file.stem}-{mark}-{before}{moment}"


def _fresh(folder: Path, begins: str, ends: str) -> tuple[Path, float] | None:
    """The newest copy with this name and its age in seconds, if it is not old."""
    named = [path for path in (folder.iterdir() if folder.is_dir() else ()) if path.name.startswith(begins)]
    times = {path: path.stat().st_mtime for path in named if path.suffix == ends}
    newest = max(times, key=times.__getitem__, default=None)
    if newest is None or (age_s := time.time() - times[newest]) >= FRESH_S:
        return None
    return newest, max(0.0, age_s)


def _require_room(file: Path, folder: Path) -> None:
    wal = file.with_name(f"{file.name}-wal")
    needed = int((file.stat().st_size + (wal.stat().st_size if wal.exists() else 0)) * ROOM)
    free = shutil.disk_usage(folder).free
    if free < needed:
        left = [path.name for path in _begun(folder, file)]
        killed = f" (unless a command makes it, delete {left[0]})" if left else ""
        raise Refused(
            f"the copy of SQLite needs {needed / 1e6:.0f} MB in {folder}, and {free / 1e6:.0f} MB are free",
            hint=f"make room{killed}, name another folder in ST_SQLITE_BACKUP, or set it to off",
        )


def _copy(source: sqlite3.Connection, partial: Path, advance: Advance | None) -> None:
    holding = str(source.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"
    try:
        _copy_once(source, partial, advance, holding=holding)
    except _BegunAnew:
        os.truncate(partial, 0)  # without a journal what was begun is no database
        _copy_once(source, partial, advance, holding=True)


def _copy_once(source: sqlite3.Connection, partial: Path, advance: Advance | None, *, holding: bool) -> None:
    beginnings, left_before = 1, -1

    def piece_done(status: int, left: int, total: int) -> None:
        nonlocal beginnings, left_before
        if status == sqlite3.SQLITE_OK and 0 <= left_before <= left:
            beginnings += 1
            if beginnings > BEGINNINGS and not holding:
                raise _BegunAnew
        left_before = left
        if advance is not None:
            advance("pages", total - left, total)

    # st-lint: allow engine-outside-seam - the copy is a file of its own, in which no pair has a part
    with closing(sqlite3.connect(partial, isolation_level=None)) as target:
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")  # `to_disk` does it, when no reader's lock is held
        if holding:
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        try:
            source.backup(target, pages=PIECE, progress=piece_done, sleep=0.001)
        finally:
            if source.in_transaction:
                source.execute("COMMIT")


def _check(partial: Path) -> None:
    """The copy alone, without the files that SQLite would put beside it."""
    # st-lint: allow engine-outside-seam - the copy is read without a lock, which no connection of app.db does
    with closing(sqlite3.connect(f"{partial.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as copy:
        found = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise BackupFailed(
            f"the copy of SQLite is damaged, as the file itself is: {'; '.join(found)}",
            hint="repair the file (sqlite3's .recover) before the move",
        )
