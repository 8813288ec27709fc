"""An archive's rows come back into their table, with the links that pointed to them.

A row that is there already is compared and left alone. A parent that is gone meanwhile leaves NULL where the
column allows that; otherwise the row is refused by its id. What came back is held: no run takes it out again
for some time. The archive stays where it is, and restoring it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, insert, select, update
from sqlalchemy.orm import Session

from app.db import Base
from app.retention.archive import BadArchive, Line, read, table_of
from app.retention.holds import put
from app.retention.old.parts import Sessions

HOLD: Final = timedelta(days=30)
_AT_A_TIME: Final = 200


@dataclass
class Restored:
    """What became of an archive's rows; lists hold ids."""

    restored: int = 0
    already: int = 0
    differing: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    without_parent: list[int] = field(default_factory=list)
    linked: int = 0


def restore(sessions: Sessions, path: Path, folder: Path, now: datetime, hold: timedelta = HOLD) -> Restored:
    """Bring the rows of an archive back.

    Args:
        folder: where the hold is noted: the archive folder of the runs.

    Raises:
        BadArchive: the file is not what was written; nothing was changed.
    """
    table = Base.metadata.tables.get(table_of(path))
    if table is None:
        raise BadArchive(f"{path.name} is not named after a table of the application")
    archive = read(path, table)
    put(folder, path.name, table, [line.id for line in archive.lines], now + hold)
    result = Restored()
    for start in range(0, len(archive.lines), _AT_A_TIME):
        with sessions() as db:
            _restore(db, table, archive.lines[start : start + _AT_A_TIME], result)
            db.commit()
    return result


def _restore(db: Session, table: Table, lines: Sequence[Line], result: Restored) -> None:
    ids = [line.id for line in lines]
    there = {
        row.id: Line(dict(row._mapping), {}).text()
        for row in db.execute(select(table).where(table.c.id.in_(ids)))
    }
    for line in lines:
        if (found := there.get(line.id)) is not None:
            if found == Line(line.row, {}).text():
                result.already += 1
            else:
                result.differing.append(line.id)
                continue
        elif (row := _with_parents(db, table, line, result)) is not None:
            db.execute(insert(table).values(row))
            result.restored += 1
        else:
            continue
        result.linked += _link(db, line)


def _with_parents(db: Session, table: Table, line: Line, result: Restored) -> dict[str, Any] | None:
    """The row, NULL in place of parents that are gone; None when it cannot be without one."""
    row = dict(line.row)
    for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
        value = row[key.parent.name]
        if value is None or db.scalar(select(key.column).where(key.column == value)) is not None:
            continue
        if not key.parent.nullable:
            result.refused.append(line.id)
            return None
        row[key.parent.name] = None
        result.without_parent.append(line.id)
    return row


def _link(db: Session, line: Line) -> int:
    """Point the rows to it again that pointed to it, unless they point elsewhere now."""
    linked = 0
    for name, ids in line.links.items():
        table_name, _, column_name = name.partition(".")
        source = Base.metadata.tables[table_name]
        column = source.c[column_name]
        values: dict[str, Any] = {column_name: line.id}
        if "updated_at" in source.c:
            values["updated_at"] = source.c.updated_at
        alone = update(source).where(source.c.id.in_(ids), column.is_(None)).values(values)
        linked += db.connection().execute(alone).rowcount
    return linked
