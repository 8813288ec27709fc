"""Whether the disks of both sides have room, where this process can see them.

A full disk of the primary refuses writes. A full disk of the shadow stops apply, so that the log grows on the
primary. SQLite's folder is always seen. So is the folder of archives, if it is there: that of
ST_RETENTION_DIR, or `archive` beside the backend. PostgreSQL's data directory is seen where the server is on
this host and the role may read its settings. Elsewhere the operator's monitoring has to watch it. The change
log of the primary counts twice: what it holds may have to be written once more on either side.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from app.db.common.settings import load_settings
from app.db.common.urls import Side

ENTRY_BYTES = 100  # of the change log, about
_HERE = ("127.0.0.1", "::1", "localhost")
_FOLDER = (
    "SELECT CASE WHEN pg_has_role(current_user, 'pg_read_all_settings', 'USAGE') "
    "THEN current_setting('data_directory') END"
)


@dataclass(frozen=True)
class Room:
    """The free bytes of one disk, and those that it should have; `holds` says what is kept there."""

    holds: str
    folder: Path
    free: int
    needed: int

    @property
    def enough(self) -> bool:
        return self.free >= self.needed

    def __str__(self) -> str:
        least = "" if self.enough else f", {self.needed >> 20} MiB are needed"
        return f"{self.free >> 20} MiB are free in {self.folder} ({self.holds}){least}"


def rooms(sqlite: Path, postgres: psycopg.Connection[Any], log_entries: int) -> list[Room]:
    """The disks that can be seen.

    Args:
        log_entries: of the primary's change log.

    Raises:
        ConfigurationError: ST_MIN_FREE_MB cannot be read.
    """
    settings = load_settings()
    least = settings.min_free_mb << 20
    growth = log_entries * ENTRY_BYTES if least else 0  # 0: the gate is off
    folders = (
        (str(Side.SQLITE), sqlite.resolve().parent, least + growth),
        (str(Side.POSTGRES), _data_directory(postgres), least + growth),
        ("archives", settings.archives(), least),
    )
    found = []
    for holds, folder, needed in folders:
        if folder is None:
            continue
        try:
            found.append(Room(holds, folder, shutil.disk_usage(folder).free, needed))
        except OSError:
            continue  # not of this host after all, or not to be looked at
    return found


def _data_directory(postgres: psycopg.Connection[Any]) -> Path | None:
    """Where the server keeps its data, if that is on this host and may be known."""
    host = postgres.info.host
    if not host.startswith("/") and host not in _HERE:
        return None
    row = postgres.execute(_FOLDER.encode()).fetchone()
    return Path(row[0]) if row and row[0] else None
