"""Old rows that nothing needs, found in batches: over a whole table, or over one series of candles.

A table is walked along its key, because only two tables have an index on their time. Ids grow with time, so the
walk ends at the first stretch without an old row. An old row behind such a stretch goes when the stretch is old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Select, Table, and_, case, false, func, inspect, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db import Base
from app.retention.archive import Line, fits
from app.retention.old.candles import Series, every_series, floor
from app.retention.old.needs import Condition, unneeded
from app.retention.old.rules import BadRule, Rule

Sessions = Callable[[], Session]
STRETCH: Final = 2_000  # ids that are looked at in one statement
# What a value that does not fit its column's type raises, and on SQLite a text that is no UTF-8.
_UNREADABLE: Final = (ValueError, TypeError, OperationalError)
_NO_UTF8: Final = "Could not decode to UTF-8"


@dataclass(frozen=True)
class Part:
    """Rows of a rule that are looked for together."""

    rule: Rule
    cutoff: datetime
    series: Series | None = None

    def condition(self, db: Session) -> Condition:
        """True for the rows that may go, as things are now."""
        table, time = self.rule.table, self.rule.time
        if self.series is None:
            return and_(time < self.cutoff, unneeded(self.rule, self.cutoff))
        before = floor(db, self.series, self.cutoff)
        if before is None:
            return false()
        in_series = [table.c[name] == value for name, value in self.series._asdict().items()]
        return and_(*in_series, time < before, unneeded(self.rule, self.cutoff))


def parts(db: Session, rule: Rule, cutoff: datetime) -> Iterator[Part]:
    """The parts of a rule.

    Raises:
        BadRule: the table has columns that the model does not know, so that an archive would lose them.
    """
    known, stored = set(rule.table.c.keys()), set(_columns(db, rule.table.name))
    if stored - known:
        names = ", ".join(sorted(stored - known))
        raise BadRule(f"{rule.table.name} has columns that an archive would lose: {names}")
    if rule.timeframe is None:
        yield Part(rule, cutoff)
        return
    for series in every_series(db, rule.timeframe):
        yield Part(rule, cutoff, series)


def batches(
    sessions: Sessions,
    part: Part,
    size: int,
    held: frozenset[int] = frozenset(),
    unfit: set[int] | None = None,
) -> Iterator[list[Line]]:
    """What may go, `size` rows at most at a time; each read in a transaction of its own that has ended.

    Args:
        held: ids of rows that stay for now.
        unfit: takes the ids of rows that stay because no archive could bring them back.
    """
    after: Any = None
    while True:
        with sessions() as db:
            upto, old = _stretch(db, part, after)
            if not old:
                return
            query = select(part.rule.table).where(part.condition(db)).limit(size)
            key = _key(part)
            if after is not None:
                query = query.where(key > after)
            if upto is not None:
                query = query.where(key <= upto)
            rows, bad = _readable(db, part.rule.table, query.order_by(key))
            if unfit is not None:
                unfit |= bad
            found = lines(db, part.rule, [row for row in rows if row.id not in held])
        full = len(rows) == size
        after = rows[-1]._mapping[key.name] if full else upto
        if found:
            yield found
        if upto is None and not full:
            return


def _readable(db: Session, table: Table, query: Select[Any]) -> tuple[Sequence[Any], set[int]]:
    """The rows of a query without those that no archive could bring back, whose ids stand beside them."""
    unfit: set[int] = set()
    while True:
        wanted = query.where(table.c.id.not_in(unfit)) if unfit else query
        try:
            rows = db.execute(wanted).all()
            found = {row.id for row in rows if not fits(row._mapping, table)}
        except _UNREADABLE as error:
            if isinstance(error, OperationalError) and _NO_UTF8 not in str(error):
                raise
            ids = db.scalars(wanted.with_only_columns(table.c.id)).all()
            found = {row_id for row_id in ids if not _can_be_read(db, table, row_id)}
            if not found:
                raise
        if not found:
            return rows, unfit
        unfit |= found


def _can_be_read(db: Session, table: Table, row_id: int) -> bool:
    try:
        return db.execute(select(table).where(table.c.id == row_id)).first() is not None
    except _UNREADABLE:
        return False


def lines(db: Session, rule: Rule, rows: Sequence[Any]) -> list[Line]:
    """Rows with the ids of those that point to them, in the order of their ids."""
    ids = [row.id for row in rows]
    links: dict[int, dict[str, list[int]]] = {row_id: {} for row_id in ids}
    for column in pointing(rule):
        query = select(column, column.table.c.id).where(column.in_(ids)).order_by(column.table.c.id)
        for target, source in db.execute(query) if ids else ():
            links[target].setdefault(str(column), []).append(source)
    return sorted((Line(dict(row._mapping), links[row.id]) for row in rows), key=lambda line: line.id)


def pointing(rule: Rule) -> list[Column[Any]]:
    """Columns that point to the rule's table; a row that goes leaves NULL in them.

    Raises:
        BadRule: a row that points there would go, too.
    """
    found = []
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            if key.column.table is rule.table:
                if key.ondelete != "SET NULL":
                    raise BadRule(f"{table.name}.{key.parent.name} does not let rows of {rule.table.name} go")
                found.append(key.parent)
    return found


def _key(part: Part) -> Column[Any]:
    return part.rule.table.c.id if part.series is None else part.rule.time


def _stretch(db: Session, part: Part, after: Any) -> tuple[int | None, bool]:
    """The last id of the next stretch and whether an old row is in it; a series is no matter of stretches."""
    if part.series is not None:
        return None, True
    table, time = part.rule.table, part.rule.time
    ids = select(table.c.id, time).order_by(table.c.id).limit(STRETCH)
    if after is not None:
        ids = ids.where(table.c.id > after)
    stretch = ids.subquery()
    old = func.sum(case((stretch.c[time.name] < part.cutoff, 1), else_=0))
    upto, count = db.execute(select(func.max(stretch.c.id), old)).one()
    return upto, bool(count)


def _columns(db: Session, table: str) -> list[str]:
    return [column["name"] for column in inspect(db.connection()).get_columns(table)]
