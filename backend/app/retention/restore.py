"""An archive's rows come back into their table, with the links that pointed to them.

A row that is there already is compared and left alone, and so is one whose unique key another row has taken meanwhile. A
parent that is gone leaves NULL where the column allows that; otherwise the row is refused by its id. What came back is
held: no run takes it out again for some time. The archive stays where it is, and restoring it again changes nothing.

A base that was set back to an older state may not have given out the ids yet. They are drawn first, so no later row gets one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, func, select, text, update

# st-lint: allow sqlite-dialect - the statement is chosen by the session's dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db import Base
from app.retention.archive import BadArchive, Line, OtherDatabase, read, table_of
from app.retention.batch import origin_of
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
    replaced: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    without_parent: list[int] = field(default_factory=list)
    linked: int = 0


def restore(
    sessions: Sessions,
    path: Path,
    folder: Path,
    now: datetime,
    hold: timedelta = HOLD,
    *,
    other_database: bool = False,
) -> Restored:
    """Bring the rows of an archive back.

    Args:
        folder: where the hold is noted: the archive folder of the runs.
        other_database: also from another database, whose ids mean other rows.

    Raises:
        BadArchive: the file is not what was written, or is another database's; nothing was changed.
    """
    table = Base.metadata.tables.get(table_of(path))
    if table is None:
        raise BadArchive(f"{path.name} is not named after a table of the application")
    archive = read(path, table)
    with sessions() as db:
        here = origin_of(db)
    if not other_database and None not in (here, archive.origin) and here != archive.origin:
        raise OtherDatabase(
            f"{path.name} is an archive of another database: the first user there was made at {archive.origin}, here at"
            f" {here}. Its ids would mean other rows; --other-database restores it all the same"
        )
    put(folder, path.name, table, [line.id for line in archive.lines], now + hold)
    result = Restored()
    with sessions() as db:
        _draw_up_to(db, table, max((line.id for line in archive.lines), default=0))
        db.commit()
    for start in range(0, len(archive.lines), _AT_A_TIME):
        with sessions() as db:
            _restore(db, table, archive.lines[start : start + _AT_A_TIME], result)
            db.commit()
    return result


def _draw_up_to(db: Session, table: Table, highest: int) -> None:
    """Use the sequence's numbers up to the highest id; drawing needs no more rights than inserting does."""
    if db.get_bind().dialect.name != "postgresql":
        return  # SQLite gives the highest id that is there, and one more
    names = {"sequence": db.scalar(select(func.pg_get_serial_sequence(table.name, "id")))}
    last = (
        db.scalar(text("SELECT coalesce(pg_sequence_last_value(CAST(:sequence AS regclass)), 0)"), names) or 0
    )
    draw = text("SELECT count(nextval(CAST(:sequence AS regclass))) FROM generate_series(1, :missing)")
    db.execute(draw, {**names, "missing": highest - last})


def _insert(db: Session, table: Table, row: dict[str, Any]) -> bool:
    """False when another row has one of its unique keys."""
    dialect = postgresql if db.get_bind().dialect.name == "postgresql" else sqlite
    adding = dialect.insert(table).values(row).on_conflict_do_nothing().returning(table.c.id)
    return db.scalar(adding) is not None


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
            if not _insert(db, table, row):
                result.replaced.append(line.id)
                continue
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
