"""A bulletin beside the SQLite file: how far the shadow is, told by each process of the host to the others.

Without it a process whose last round was followed by another's has to ask PostgreSQL where the shadow is. With
several processes in sync mode that is nearly every commit. Each tells only what PostgreSQL has acknowledged. A round
that has something to carry from there is compared with the shadow's own record. So the bulletin may be late, lost,
or written by two at once.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from pathlib import Path

SUFFIX = ".st-applied"
_SIZE = 512


class Bulletin:
    """One process's view of the file, for one thread at a time. If the file cannot be had, nothing is told.

    Args:
        path: the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._database = path
        self._file: int | None = None
        self._given_up = False

    def tell(self, facts: dict[str, object]) -> None:
        """Replace what the bulletin says; the facts are few and short."""
        text = json.dumps(facts, separators=(",", ":")).encode()
        whole = b"%08x %s" % (zlib.crc32(text), text)
        if len(whole) > _SIZE or (file := self._open()) is None:
            return
        with suppress(OSError):
            os.pwrite(file, whole.ljust(_SIZE), 0)

    def read(self) -> dict[str, object] | None:
        """What it says. None if it says nothing, or something half written."""
        if (file := self._open()) is None:
            return None
        try:
            total, _, text = os.pread(file, _SIZE, 0).rstrip().partition(b" ")
            if total != b"%08x" % zlib.crc32(text):
                return None
            facts = json.loads(text)
        except (OSError, ValueError):
            return None
        return facts if isinstance(facts, dict) else None

    def close(self) -> None:
        """Close the file. Harmless to repeat."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _open(self) -> int | None:
        if self._file is None and not self._given_up:
            try:
                self._file = _opened(self._database)
            except OSError:
                self._given_up = True
        return self._file


def remove_bulletin(database: Path) -> None:
    """Take the file away; processes that have it open tell each other nothing any more."""
    with suppress(OSError):
        _beside(database).unlink()


def _beside(database: Path) -> Path:
    real = database.resolve()
    return real.with_name(real.name + SUFFIX)


def _opened(database: Path) -> int:
    """The bulletin's descriptor. Whoever may write the database may write the bulletin, as with SQLite's own files."""
    flags = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    path = _beside(database)
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    like = database.stat()
    file = os.open(path, flags | os.O_CREAT, 0o600)
    with suppress(OSError):
        os.fchmod(file, like.st_mode & 0o666)
        os.fchown(file, like.st_uid, like.st_gid)
    return file
