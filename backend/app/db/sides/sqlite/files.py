"""Files as the system has them: which one a path leads to, and what outlives a loss of power.

A copy that is moved over a live file takes its name. Connections that are open go on with the former file,
which has no name any more. What they write is gone with the last of them. SQLite does not notice. One look at
device and inode costs some microseconds, so each transaction looks before it writes and before it commits.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from app.db.common.errors import FileReplaced, NotPrepared

Identity = tuple[int, int]


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
    """Remembers which file a path led to when it was first asked.

    Args:
        path: where the SQLite file is; the file may be missing until it is first asked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: Identity | None = None

    def begin(self) -> None:
        """Remember the present file. Called before the first connection is opened, harmless to repeat."""
        if self._opened is None:
            self._opened = self._identity()

    def problem(self) -> str | None:
        """What has become of the file, None if the path leads to it."""
        if self._opened is None:
            return None
        now = self._identity()
        if now == self._opened:
            return None
        became = "removed" if now is None else "replaced by another file"
        return f"the SQLite file {self._path} was {became} while this process had it open"

    def check(self) -> None:
        """Make sure that what is written through an open connection stays under this path.

        Raises:
            FileReplaced: another file stands there, or none.
        """
        if problem := self.problem():
            raise FileReplaced(
                problem, hint="put the former file back, or stop every process and decide which file counts"
            )

    def _identity(self) -> Identity | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


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
