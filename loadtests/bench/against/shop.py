"""A small application whose tables hold one of each: kinds of value, defaults, keys and indexes.

It is told nothing of either tool: SQLAlchemy makes its tables on both databases, as an installer does.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from loadtests.show.tables import KEYLESS

metadata = sa.MetaData()


class Mood(enum.Enum):
    """Stored by its name, as an enum type on PostgreSQL."""

    GOOD = 1
    BAD = 2


maker = sa.Table(
    "maker",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(80), nullable=False, unique=True),
)
thing = sa.Table(
    "thing",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("maker_id", sa.ForeignKey("maker.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("good", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("state", sa.String(20), nullable=False, server_default="new"),
    sa.Column("amount", sa.Integer, sa.CheckConstraint("amount >= 0"), nullable=False, server_default="1"),
    sa.Column("twice", sa.Integer, sa.Computed("amount * 2")),
    sa.Column("big", sa.BigInteger),
    sa.Column("ratio", sa.Float),
    sa.Column("price", sa.Numeric(12, 4)),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("day", sa.Date),
    sa.Column("at", sa.Time),
    sa.Column("made", sa.DateTime, nullable=False, server_default=sa.func.current_timestamp()),
    sa.Column("facts", sa.JSON),
    sa.Column("token", sa.Uuid),
    sa.Column("mood", sa.Enum(Mood, name="mood")),
)
visit = sa.Table(
    "visit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("thing_id", sa.ForeignKey("thing.id"), nullable=False, index=True),
    sa.Column("took", sa.Interval),
)
sa.Index("thing_maker_name", thing.c.maker_id, thing.c.name, unique=True)
sa.Index(
    "thing_good_token", thing.c.token, unique=True, postgresql_where=thing.c.good, sqlite_where=thing.c.good
)


def fill(path: Path, rows: int) -> None:
    """Make the file and write to it as the application does."""
    engine = sa.create_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(maker), [{"id": n, "name": f"maker {n}"} for n in range(1, 11)])
        for first in range(0, rows, 5000):
            numbers = range(first, min(rows, first + 5000))
            connection.execute(sa.insert(thing), [_row(n) for n in numbers])
            connection.execute(sa.insert(visit), [{"thing_id": n + 1, "took": _took(n)} for n in numbers])
    engine.dispose()


def _took(n: int) -> timedelta:
    return timedelta(days=n % 40, seconds=n % 5, microseconds=n % 1000)


def _row(n: int) -> dict[str, Any]:
    return {
        "maker_id": n % 10 + 1,
        "name": f"Thing {n} é 🙂",
        "note": (None, "", "two\nlines, \\N and a tab\t")[n % 3],
        "good": n % 2 == 0,
        "state": "kept",
        "amount": n,
        "big": 2**53 + n,
        "ratio": (0.1 + 0.2, -0.0, 5e-324, 1e300)[n % 4],
        "price": Decimal(n) / 8,
        "raw": bytes([0, n % 256, 92, 255]),
        "day": date(2026, 1, 1) + timedelta(days=n % 700),
        "at": time(n % 24, n % 60, 1, n % 1000),
        "made": datetime(2026, 1, 2, 3, 4, 5, n % 1_000_000),
        "facts": {"n": n, "list": [1, 2.5, None, "é"]},
        "token": uuid.UUID(int=n),
        "mood": Mood.GOOD if n % 2 else Mood.BAD,
    }


Act = Callable[[sa.Connection], object]


def _insert(**values: Any) -> Act:
    def act(connection: sa.Connection) -> object:
        connection.execute(sa.insert(thing).values({"maker_id": 1, "name": "another"} | values))
        return "stored"

    return act


def _count(condition: Callable[[], Any]) -> Act:
    return lambda connection: connection.scalar(
        sa.select(sa.func.count()).select_from(thing).where(condition())
    )


def _new_key(connection: sa.Connection) -> object:
    most = connection.scalar(sa.select(sa.func.max(thing.c.id))) or 0
    connection.execute(sa.insert(thing).values(maker_id=1, name="another"))
    key = connection.scalar(sa.select(thing.c.id).where(thing.c.name == "another"))
    return "a new key" if key and key > most else f"the key {key}"


def _defaults(connection: sa.Connection) -> object:
    most = connection.scalar(sa.select(sa.func.max(thing.c.id))) or 0
    given = {"id": most + 1000, "maker_id": 1, "name": "another"}
    connection.execute(sa.insert(thing).values(given))
    chosen = sa.select(thing.c.good, thing.c.state, thing.c.amount, thing.c.made).where(
        thing.c.id == most + 1000
    )
    good, state, amount, made = connection.execute(chosen).one()
    return [
        good,
        state,
        amount,
        "a time" if isinstance(made, datetime) and made.tzinfo is None else repr(made),
    ]


def _generated(connection: sa.Connection) -> object:
    connection.execute(sa.update(thing).where(thing.c.id == 7).values(amount=21))
    return connection.scalar(sa.select(thing.c.twice).where(thing.c.id == 7))


def _cascade(connection: sa.Connection) -> object:
    connection.execute(sa.delete(visit))
    connection.execute(sa.delete(maker).where(maker.c.id == 3))
    return connection.scalar(sa.select(sa.func.count()).select_from(thing).where(thing.c.maker_id == 3))


# What the application does, each in a transaction of its own that is rolled back.
ACTS: dict[str, Act] = {
    KEYLESS: _new_key,
    "insert with defaults": _defaults,
    "generated column after an update": _generated,
    "insert a name twice": _insert(id=10**6, maker_id=6, name="Thing 5 é 🙂"),
    "insert a token twice where the unique index does not look": _insert(
        id=10**6, token=uuid.UUID(int=4), good=False
    ),
    "insert a token twice where it does": _insert(id=10**6, token=uuid.UUID(int=4), good=True),
    "insert for a maker who is not there": _insert(id=10**6, maker_id=999),
    "insert without a name": _insert(id=10**6, name=None),
    "insert an amount that the check refuses": _insert(id=10**6, amount=-1),
    "delete a maker with things": _cascade,
    "find by a Boolean": _count(lambda: thing.c.good),
    "find by an interval": lambda connection: connection.scalar(
        sa.select(sa.func.count()).where(visit.c.took > timedelta(days=3))
    ),
    "find by a date": _count(lambda: thing.c.day >= date(2026, 2, 1)),
    "find by a time stamp": _count(lambda: thing.c.made == datetime(2026, 1, 2, 3, 4, 5, 11)),
    "find by a UUID": _count(lambda: thing.c.token == uuid.UUID(int=11)),
    "find by bytes": _count(lambda: thing.c.raw == bytes([0, 11, 92, 255])),
    "find by a member of an enum": _count(lambda: thing.c.mood == Mood.GOOD),
    "find by a value in JSON": _count(lambda: thing.c.facts["n"].as_integer() == 11),
}


def acted(engine: sa.Engine, act: Act) -> str:
    """What one act gives: its answer, "refused", or the error that it should not have."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        try:
            return str(act(connection))
        except sa.exc.IntegrityError:
            return "refused"
        except (DBAPIError, LookupError, TypeError, ValueError) as error:
            return f"error: {type(getattr(error, 'orig', None) or error).__name__}"
        finally:
            connection.rollback()
