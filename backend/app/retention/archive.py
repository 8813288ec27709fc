"""Archive files: one per batch, in a form that any tool reads, whole on the disk before its rows may go.

A file is gzipped JSON lines: a header, then one line per row. Its SHA-256 stands beside it in the form that
`sha256sum -c` takes. A batch writes both below `pending`, with fsync; when its transaction has committed they
move to the folder of their rule. What is still below `pending` after a crash is settled by the next run.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Date, DateTime, Table

from app.db.sides.sqlite.files import to_disk
from app.retention.old.rules import Rule

FORMAT: Final = 1
PENDING: Final = "pending"
DAMAGED: Final = "damaged"
ENDING: Final = ".jsonl.gz"


class BadArchive(ValueError):
    """A file is no archive, or is not what was written."""


class OtherDatabase(BadArchive):
    """An archive was written from another database, where its ids mean other rows."""


class FolderInUse(RuntimeError):
    """Another run works in the archive folder."""


@dataclass(frozen=True)
class Line:
    """A row as its archive holds it; `links` are the ids of rows that pointed to it, by `table.column`."""

    row: dict[str, Any]
    links: dict[str, list[int]]

    @property
    def id(self) -> int:
        return int(self.row["id"])

    def text(self) -> str:
        """The line, the same for the same content."""
        content = {"row": {name: _plain(value) for name, value in self.row.items()}, "links": self.links}
        return json.dumps(content, separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True)
class Archive:
    """A file with its header's rule and table, and its rows.

    `origin` tells one database from another, see `origin_of`; None where nobody knows.
    """

    path: Path
    rule: str
    table: str
    lines: Sequence[Line]
    origin: str | None = None

    def finish(self) -> Path:
        """Move a pending file to its rule's folder, its checksum behind it."""
        folder = self.path.parent.parent / self.rule
        make_folder(folder)
        for path in (self.path, checksum_of(self.path)):
            path.replace(folder / path.name)
        for changed in (folder, self.path.parent, folder.parent):
            to_disk(changed)
        return folder / self.path.name

    def discard(self) -> None:
        """Forget a pending file whose rows stay where they are."""
        self.path.unlink(missing_ok=True)
        checksum_of(self.path).unlink(missing_ok=True)
        to_disk(self.path.parent)


def write(
    folder: Path, rule: Rule, lines: Sequence[Line], now: datetime, origin: str | None = None
) -> Archive:
    """Write a batch below `pending` and see to it that it is on the disk.

    Raises:
        OSError: the disk is full, or the like; nothing of the file is left.
    """
    pending = folder / PENDING
    make_folder(pending)
    header = {
        "format": FORMAT,
        "rule": rule.name,
        "table": rule.table.name,
        "rows": len(lines),
        "archived_at": now.isoformat(),
        "origin": origin,
    }
    text = "\n".join([json.dumps(header, separators=(",", ":")), *(line.text() for line in lines), ""])
    content = gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)
    digest = hashlib.sha256(content).hexdigest()
    name = f"{rule.name}-{lines[0].id}-{lines[-1].id}-{now:%Y%m%dT%H%M%S}-{digest[:8]}{ENDING}"
    path = pending / name
    made = Archive(path, rule.name, rule.table.name, lines, origin)
    try:
        # The checksum first: a file without one is no archive.
        _write(checksum_of(path), f"{digest}  {name}\n".encode("ascii"))
        _write(path, content)
        for changed in (pending, folder):  # the second in case that a killed run has just made `pending`
            to_disk(changed)
    except OSError:
        made.discard()
        raise
    return made


def read(path: Path, table: Table) -> Archive:
    """An archive's content, after its checksum was found right.

    Raises:
        BadArchive: there is no checksum, it is another one, or the file is not one of `table`.
    """
    content = check(path)
    header, *lines = [json.loads(line) for line in gzip.decompress(content).decode("ascii").splitlines()]
    if header.get("format") != FORMAT or header.get("rows") != len(lines):
        raise BadArchive(f"{path.name} has format {header.get('format')} and {len(lines)} rows")
    if header["table"] != table.name:
        raise BadArchive(f"{path.name} is an archive of {header['table']}, not of {table.name}")
    decoded = [Line(_typed(line["row"], table), line["links"]) for line in lines]
    return Archive(path, header["rule"], header["table"], decoded, header.get("origin"))


def check(path: Path) -> bytes:
    """The bytes of an archive whose checksum is right.

    Raises:
        BadArchive: it is not, or there is none.
    """
    try:
        content = path.read_bytes()
        wanted = checksum_of(path).read_text(encoding="ascii").split()[0]
    except (OSError, IndexError) as error:
        raise BadArchive(f"{path.name} cannot be read with its checksum: {error}") from error
    if hashlib.sha256(content).hexdigest() != wanted:
        raise BadArchive(f"{path.name} is not the file that was written: its checksum differs")
    return content


def table_of(path: Path) -> str:
    """The table of an archive, by its name."""
    return path.name.split("-")[0].split(".")[0]


def listed(folder: Path) -> list[Path]:
    """Every archive whose rows have gone, the oldest name first."""
    return sorted(path for path in folder.glob(f"*/*{ENDING}") if path.parent.name not in (PENDING, DAMAGED))


def pending(folder: Path) -> list[Path]:
    """Files whose batch did not come to its end."""
    return sorted((folder / PENDING).glob(f"*{ENDING}"))


def set_aside(path: Path) -> Path:
    """Move a pending file that cannot be read to `damaged`, for a person to look at; returns its new place."""
    folder = path.parent.parent / DAMAGED
    folder.mkdir(exist_ok=True)
    for moved in (checksum_of(path), path):
        if moved.exists():
            moved.replace(folder / moved.name)
    return folder / path.name


def settle_checksums(folder: Path) -> None:
    """Bring a checksum whose archive has moved there; remove one whose archive was never written."""
    for alone in (folder / PENDING).glob(f"*{ENDING}.sha256"):
        name = alone.name.removesuffix(".sha256")
        moved = folder / name.split("-")[0] / name
        if moved.exists():
            alone.replace(checksum_of(moved))
        else:
            alone.unlink()


def checksum_of(path: Path) -> Path:
    """The file beside an archive that holds its checksum."""
    return path.with_name(path.name + ".sha256")


@contextmanager
def only_user(folder: Path) -> Iterator[None]:
    """Be the only run in an archive folder; a dead process holds nothing.

    Raises:
        FolderInUse: there is another run.
    """
    make_folder(folder)
    with (folder / ".lock").open("w") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except OSError as error:
            raise FolderInUse(f"another retention run works in {folder}") from error
        yield


def make_folder(folder: Path) -> None:
    """Make a folder with those above it, so that it outlives a loss of power."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        to_disk(folder.parent)


def replace(path: Path, text: str) -> None:
    """Write a small file that a reader finds whole at any time, after a loss of power, too."""
    fresh = path.with_name(path.name + ".new")
    _write(fresh, text.encode("utf-8"))
    fresh.replace(path)
    to_disk(path.parent)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def fits(row: Mapping[str, Any], table: Table) -> bool:
    """Whether an archive could bring the row back: SQLite keeps values of any kind in any column."""
    return all(
        row[column.name] is None or isinstance(row[column.name], _kinds(column.type)) for column in table.c
    )


def _kinds(kind: Any) -> tuple[type, ...]:
    found: type = getattr(kind, "impl", kind).python_type
    return (float, int) if found is float else (found,)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, (datetime, date)) else value


def _typed(row: dict[str, Any], table: Table) -> dict[str, Any]:
    return {
        name: _from_text(value, table.c[name].type) if isinstance(value, str) else value
        for name, value in row.items()
    }


def _from_text(value: str, kind: Any) -> Any:
    if isinstance(kind, Date):
        return date.fromisoformat(value)
    # UTCDateTime is a decorator around DateTime.
    return datetime.fromisoformat(value) if isinstance(getattr(kind, "impl", kind), DateTime) else value
