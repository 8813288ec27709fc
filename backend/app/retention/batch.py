"""One batch leaves the database: archived first, then deleted exactly as archived, or not at all.

    write the archive, with fsync        nothing is locked meanwhile
    one transaction:
      take what blocks other writers of these rows (SQLite: the write lock; PostgreSQL: the rows, without waiting)
      delete what may still go, and compare what was deleted with the archive: other content, other links or a
      row that has become needed roll everything back
      take the ids out of the rows that pointed there
    move the archive out of `pending`

A process that dies leaves a pending file. Either all of its rows are still there, and the file goes; or they have
gone, and it is moved. Deletes are ordinary writes: capture carries them to a shadow like any other.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, delete, false, func, select, text, update
from sqlalchemy.orm import Session

from app.db import Base
from app.db.common.failpoints import Failpoint, failpoint
from app.models import User
from app.retention import archive
from app.retention.archive import Archive, Line
from app.retention.metrics import ARCHIVE_BYTES, BATCH_SECONDS, ROWS
from app.retention.old.parts import Part, Sessions, lines, pointing

LOCK_TIMEOUT: Final = "200ms"  # a row that somebody else works with may go another time


@dataclass(frozen=True)
class Settled:
    """What became of pending files: finished and forgotten ones by number, damaged ones by name."""

    finished: int
    forgotten: int
    damaged: tuple[str, ...]


def take_out(sessions: Sessions, part: Part, found: Sequence[Line], folder: Path, now: datetime) -> bool:
    """Archive rows and delete them; False when they are not as they were, and nothing was changed.

    Raises:
        sqlalchemy.exc.DBAPIError, SwitchError: the database could not; the next run settles the archive.
    """
    with sessions() as db:
        origin = origin_of(db)
    written = archive.write(folder, part.rule, found, now, origin)
    failpoint(Failpoint.RETENTION_ARCHIVED)
    started = time.monotonic()
    with sessions() as db:
        went = _delete(db, part, found)
        if went:
            failpoint(Failpoint.RETENTION_BEFORE_COMMIT)
            db.commit()
        else:
            db.rollback()
    BATCH_SECONDS.observe(time.monotonic() - started)
    failpoint(Failpoint.RETENTION_AFTER_COMMIT)
    if not went:
        written.discard()
        return False
    final = written.finish()
    ROWS.labels(part.rule.name).inc(len(found))
    ARCHIVE_BYTES.labels(part.rule.name).inc(final.stat().st_size)
    return True


def origin_of(db: Session) -> str | None:
    """What tells this database from another: when its first user was made; None without users.

    That stays through a move, there and back, and through a backup that is restored.
    """
    made = db.scalar(select(User.created_at).order_by(User.id).limit(1))
    return None if made is None else made.isoformat()


def settle(sessions: Sessions, folder: Path) -> Settled:
    """Finish or forget what a dead run left; nothing is removed but archives whose rows are all still there."""
    finished, forgotten, damaged = 0, 0, []
    for path in archive.pending(folder):
        try:
            left = archive.read(path, Base.metadata.tables[archive.table_of(path)])
        except archive.BadArchive:
            damaged.append(archive.set_aside(path))
            continue
        if _all_there(sessions, left):
            left.discard()
            forgotten += 1
        else:
            left.finish()
            finished += 1
    archive.settle_checksums(folder)
    return Settled(finished, forgotten, tuple(path.name for path in damaged))


def _all_there(sessions: Sessions, left: Archive) -> bool:
    table = Base.metadata.tables[left.table]
    with sessions() as db:
        found = db.scalar(
            select(func.count()).select_from(table).where(table.c.id.in_([line.id for line in left.lines]))
        )
    return found == len(left.lines)


def _delete(db: Session, part: Part, found: Sequence[Line]) -> bool:
    table, ids = part.rule.table, [line.id for line in found]
    if not _take_locks(db, part, found):
        return False
    links = {line.id: line.links for line in lines(db, part.rule, _rows(db, part, ids))}
    deleting = delete(table).where(table.c.id.in_(ids), part.condition(db)).returning(*table.c)
    deleted = [Line(dict(row._mapping), links.get(row.id, {})) for row in db.execute(deleting)]
    if sorted(line.text() for line in deleted) != sorted(line.text() for line in found):
        return False
    for column in pointing(part.rule):
        values: dict[str, Any] = {column.name: None}
        if "updated_at" in column.table.c:  # such a row does not change: its time of change stays
            values["updated_at"] = column.table.c.updated_at
        db.execute(update(column.table).where(column.in_(ids)).values(values))
    return True


def _take_locks(db: Session, part: Part, found: Sequence[Line]) -> bool:
    """From here on nobody changes these rows, or makes another row point to them.

    False: somebody else holds one of them.
    """
    table = part.rule.table
    # No row is hit. A session admits it as a write, which takes the write lock on SQLite.
    db.execute(update(table).where(false()).values(id=table.c.id))
    if db.connection().dialect.name != "postgresql":
        return True
    db.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": LOCK_TIMEOUT})
    wanted = [(table, {line.id for line in found})]
    for column in pointing(part.rule):
        wanted.append((column.table, {n for line in found for n in line.links.get(str(column), [])}))
    return all(_locked(db, source, ids) == ids for source, ids in wanted)


def _locked(db: Session, table: Table, ids: set[int]) -> set[int]:
    query = select(table.c.id).where(table.c.id.in_(ids)).with_for_update(skip_locked=True)
    return set(db.scalars(query))


def _rows(db: Session, part: Part, ids: Sequence[int]) -> Sequence[object]:
    return db.execute(select(part.rule.table).where(part.rule.table.c.id.in_(ids))).all()
