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

from app.db.sides.sqlite.files import beside, give_as

SUFFIX = ".st-applied"
_SIZE = 512
_in_short = json.JSONEncoder(separators=(",", ":")).encode  # made once: each round tells something


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
        text = _in_short(facts).encode()
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
        beside(database, SUFFIX).unlink()


def _opened(database: Path) -> int:
    """The bulletin's descriptor."""
    flags = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    path = beside(database, SUFFIX)
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        file = os.open(path, flags | os.O_CREAT, 0o600)
    give_as(database, file)
    return file
