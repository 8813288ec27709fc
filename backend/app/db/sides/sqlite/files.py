"""Files as the system has them: which one a path leads to, and what outlives a loss of power.

A copy that is moved over a live file takes its name. Connections that are open go on with the former file,
which has no name any more. What they write is gone with the last of them. SQLite does not notice. The same holds
for the file's `-wal` and `-shm`, which people remove to "unlock" a database: whoever opens the file next has a log
and locks of its own. One look at device and inode costs some microseconds, so each transaction looks before it
writes and before it commits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app.db.common.errors import FileReplaced, NotPrepared

Identity = tuple[int, int]
_OPEN = Path("/proc/self/fd")  # what this process has open, where the system lists that
_PARTS = ("-wal", "-shm")  # what belongs to the file while somebody has it open


def older_file(how: str, *, hint: str | None = None) -> NotPrepared:
    """An older copy of the SQLite file stands under its name.

    Args:
        how: how that shows.
        hint: the way out; None: PostgreSQL has applied what the copy lacks, so begin anew.
    """
    return NotPrepared(
        f"an older SQLite file was put back: {how}",
        hint=hint
        or "put the newer file back. If it is lost, PostgreSQL alone holds what is newer: save that first, "
        "then st-migrate abort, prepare and backfill anew",
    )


def older_shadow(how: str) -> NotPrepared:
    """An older copy of the PostgreSQL database, the shadow, stands in its place.

    Args:
        how: how that shows.
    """
    return NotPrepared(
        f"an older copy of the PostgreSQL database was put back: {how}",
        hint="put the newer one back; or SQLite has everything: st-migrate abort, then prepare --discard-target "
        "and backfill anew",
    )


def older_epoch(file: int, pair: int) -> NotPrepared:
    """An older copy of the SQLite file, from before the last switches."""
    return older_file(
        f"it is at epoch {file}, the pair at {pair}",
        hint="put the newer file back, or run st-migrate abort and begin anew",
    )


class FileWatch:
    """Remembers which file a path led to when it was first asked, its `-wal` and `-shm` included.

    Args:
        path: where the SQLite file is; the file may be missing until it is first asked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._parts = tuple(str(beside(path, end)) for end in _PARTS)
        self._opened: Identity | None = None
        self._parts_seen: tuple[Identity | None, ...] = ()
        self._size = 0

    def begin(self) -> None:
        """Remember the present file. Called before the first connection is opened, harmless to repeat."""
        if self._opened is None:
            self._opened, self._size = _identity(self._name)

    def problem(self) -> str | None:
        """What has become of the file, None if the path leads to it."""
        if self._opened is None:
            return None
        now, size = _identity(self._name)
        if now != self._opened:
            became = "removed" if now is None else "replaced by another file"
            return f"the SQLite file {self._path} was {became} while this process had it open"
        if size != self._size:
            if size < self._size and _is_cut(self._path, size):
                return f"the SQLite file {self._path} was cut off by another program"
            self._size = size
        parts = tuple(_identity(part)[0] for part in self._parts)
        if parts != self._parts_seen:
            if (gone := _removed_but_open(self._path)) is not None:
                return f"{gone} was removed while this process had it open"
            self._parts_seen = parts
        return None

    def check(self) -> None:
        """Make sure that what is written through an open connection stays under this path.

        Raises:
            FileReplaced: another file stands there, or none.
        """
        if problem := self.problem():
            raise FileReplaced(
                problem,
                hint="put the former file back, or stop every process and decide which file counts: "
                "copy it first, its -wal included. Open nothing there before that: a -wal that was left belongs to "
                "the former file, and whoever opens the new one takes it in",
            )


def _identity(path: str) -> tuple[Identity | None, int]:
    """Which file a path leads to, and its size."""
    try:
        found = os.stat(path)  # noqa: PTH116 - each transaction asks six times, and a Path takes twice as long
    except OSError:
        return None, 0
    return (found.st_dev, found.st_ino), found.st_size


def _is_cut(path: Path, size: int) -> bool:
    """Whether a file that became smaller lacks pages that its own first page counts.

    It is read through a descriptor of SQLite's: to close one of our own would release every lock of this process.
    """
    for descriptor in _descriptors(str(path.resolve())):
        with suppress(OSError):
            head = os.pread(descriptor, 32, 0)
            page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
            return len(head) < 32 or (65_536 if page == 1 else page) * pages > size
    return False


def _removed_but_open(path: Path) -> str | None:
    """The log or the locks of a file that this process has open and that have no name any more.

    SQLite removes them itself when the last connection is closed, so that a name alone tells nothing.
    """
    for part in (str(beside(path, end)) for end in _PARTS):
        if any(True for _ in _descriptors(f"{part} (deleted)")):
            return part
    return None


def _descriptors(name: str) -> Iterator[int]:
    """What this process has open under a name, its parent's left out. Nothing where the system does not list that."""
    with suppress(OSError):
        for descriptor in set(_OPEN.iterdir()) - _of_parent:
            with suppress(OSError):
                if str(descriptor.readlink()) == name:
                    yield int(descriptor.name)


_of_parent: set[Path] = set()  # what this process had open when it was forked; it is the parent's to close


def _forked() -> None:
    with suppress(OSError):
        _of_parent.update(_OPEN.iterdir())


os.register_at_fork(after_in_child=_forked)


def beside(database: Path, suffix: str) -> Path:
    """A file of ours beside a SQLite file, whichever of its names was given."""
    real = database.resolve()
    return real.with_name(real.name + suffix)


def give_as(database: Path, descriptor: int) -> None:
    """Give an open file beside the database to who may write the database, as SQLite does with its own files."""
    with suppress(OSError):
        like = database.stat()
        os.fchmod(descriptor, like.st_mode & 0o666 | 0o200)  # also beside a file that is read-only today
        os.fchown(descriptor, like.st_uid, like.st_gid)


def to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk.

    Raises:
        OSError: there is no such path, or the disk could not.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
