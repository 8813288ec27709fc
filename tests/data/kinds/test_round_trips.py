"""Every kind there and back: SQLite's bytes are the same, and the application's ORM reads the same on both sides.

Nothing here knows of canonical forms. SQLite's own `quote` says which bytes stand in the file; SQLAlchemy's types
and Python's values say what an application reads.
"""

from __future__ import annotations

import enum
import json
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateTable

from app.db.common.urls import Side
from app.db.rows.canonical.reals import shortest
from loadtests.stage.embedded import EmbeddedPostgres
from tests.data.verify.small_pair import SmallPair, make_pair_of

FEW = settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # each try is two switches: shrinking would take minutes
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31))
SAFE = st.floats(allow_nan=False, allow_infinity=False)
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e9, 1e9).map(lambda n: n + 0.0)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Base(DeclarativeBase):
    """Models of an application that knows nothing of the move."""


class Thing(Base):
    """A column of every kind that an ORM has a type for."""

    __tablename__ = "things"
    id: Mapped[int] = mapped_column(sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    touched: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    whole: Mapped[Any] = mapped_column(sa.BigInteger, nullable=True)
    real: Mapped[Any] = mapped_column(sa.Double, nullable=True)
    flag: Mapped[Any] = mapped_column(sa.Boolean, nullable=True)
    words: Mapped[Any] = mapped_column(sa.Text, nullable=True)
    naive: Mapped[Any] = mapped_column(sa.DateTime, nullable=True)
    instant: Mapped[Any] = mapped_column(sa.DateTime(timezone=True), nullable=True)
    day: Mapped[Any] = mapped_column(sa.Date, nullable=True)
    clock: Mapped[Any] = mapped_column(sa.Time, nullable=True)
    length: Mapped[Any] = mapped_column(sa.Interval, nullable=True)
    data: Mapped[Any] = mapped_column(sa.LargeBinary, nullable=True)
    exact: Mapped[Any] = mapped_column(sa.Numeric(14, 4), nullable=True)
    ident: Mapped[Any] = mapped_column(sa.Uuid, nullable=True)
    level: Mapped[Any] = mapped_column(sa.Enum(Level, name="thing_level"), nullable=True)
    doc: Mapped[Any] = mapped_column(sa.JSON(none_as_null=True), nullable=True)
    docb: Mapped[Any] = mapped_column(
        sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql"),
        nullable=True,
    )


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(-(2**63), 2**63 - 1),
    "real": SAFE.map(lambda number: number + 0.0),
    "flag": st.booleans(),
    "words": TEXT,
    "naive": MOMENTS,
    "instant": MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC)),
    "day": st.dates(),
    "clock": st.times(),
    "length": st.timedeltas(timedelta(days=-700_000), timedelta(days=2_900_000)),
    "data": st.binary(max_size=20),
    "exact": st.decimals(-(10**9), 10**9, places=4),
    "ident": st.uuids(),
    "level": st.sampled_from(Level),
    "doc": DOCUMENTS,
    "docb": DOCUMENTS,
}


def _clock(moment: datetime | time, digits: str) -> str:
    if digits == "6":
        return moment.strftime("%H:%M:%S.%f")
    text = moment.strftime("%H:%M:%S")
    return f"{text}.{moment.microsecond:06}" if moment.microsecond else text


def stamp(moment: datetime, mark: str, digits: str, zone: str = "") -> str:
    return f"{moment.date().isoformat()}{mark}{_clock(moment, digits)}{zone}"


# Other spellings that programs use: type on SQLite, type on PostgreSQL, values in that spelling, one to learn from.
SPELT: dict[str, tuple[str, str, st.SearchStrategy[Any], Any]] = {
    "u_hyphens": ("CHAR(36)", "uuid", st.uuids().map(str), str(uuid.UUID(int=10))),
    "u_capitals": ("VARCHAR", "uuid", st.uuids().map(lambda u: str(u).upper()), str(uuid.UUID(int=10)).upper()),
    "u_braces": ("VARCHAR", "uuid", st.uuids().map(lambda u: f"{{{u}}}"), f"{{{uuid.UUID(int=10)}}}"),
    "u_bytes": ("BLOB", "uuid", st.uuids().map(lambda u: u.bytes), uuid.UUID(int=10).bytes),
    "t_iso": ("TEXT", "timestamp", MOMENTS.map(lambda m: stamp(m, "T", "0")), "2026-01-05T10:00:00"),
    "i_zulu": ("TEXT", "timestamptz", MOMENTS.map(lambda m: stamp(m, "T", "6", "Z")), "2026-01-05T10:00:00.000000Z"),
    "i_utc": ("TEXT", "timestamptz", MOMENTS.map(lambda m: stamp(m, " ", "0", "+00:00")), "2026-01-05 10:00:00+00:00"),
    "i_india": ("TEXT", "timestamptz", MOMENTS.map(lambda m: stamp(m, "T", "0", "+05:30")), "2026-01-05T10:00:00+05:30"),
    "l_micros": ("bigint", "interval", st.integers(-(2**60), 2**60), 1),
    "l_iso": ("DATETIME", "interval", MOMENTS.map(lambda m: stamp(m, "T", "0")), "1970-01-01T00:00:01"),
    "n_text": ("TEXT", "numeric", st.decimals(allow_nan=False, allow_infinity=False, places=2).map(lambda d: format(d, "f")).filter(lambda t: not t.startswith("-0.00")), "1.50"),
    "c_short": ("TIME", "time", st.times().map(lambda t: _clock(t, "0")), "07:00:00"),
    "j_text": ("TEXT", "json", DOCUMENTS.map(lambda d: json.dumps(d, indent=1, ensure_ascii=False)), "{}"),
    "j_sorted": ("TEXT", "jsonb", DOCUMENTS.map(lambda d: json.dumps(d, separators=(",", ":"))), '{"b":1,"a":2}'),
    "j_wide": ("TEXT", "jsonb", DOCUMENTS.map(lambda d: json.dumps(d, indent=2)), '{"b": 1}'),
    "a_any": ("char(39)", "inet", st.ip_addresses().map(lambda a: str(a.exploded).upper()), "10.0.0.1"),
    "a_net": ("VARCHAR", "cidr", st.ip_addresses(v=4).map(lambda a: f"{int(a) >> 24}.0.0.0/8"), "10.0.0.0/8"),
    "r_short": ("FLOAT", "real", st.floats(width=32, allow_nan=False).map(lambda n: shortest(n) + 0.0), 0.1),
    "r_wide": ("REAL", "real", st.floats(width=32, allow_nan=False).map(lambda n: n + 0.0), 0.10000000149011612),
    "w_fold": ("TEXT COLLATE NOCASE", "citext", TEXT, "Aä"),
    "w_short": ("CHAR(20)", "char(20)", TEXT.filter(lambda text: not text.endswith(" ")), "x"),
}  # fmt: skip


def ddl(side: Side) -> str:
    """The tables of both tests; SQLAlchemy writes those of its models."""
    dialect = sa.create_engine(f"{'sqlite' if side is Side.SQLITE else 'postgresql+psycopg'}://").dialect
    made = ["CREATE EXTENSION citext", "CREATE TYPE thing_level AS ENUM ('LOW', 'HIGH')"]
    made = made if side is Side.POSTGRES else []
    made.append(str(CreateTable(Thing.__table__).compile(dialect=dialect)))  # type: ignore[arg-type]
    columns = ", ".join(f"{name} {kinds[side is Side.POSTGRES]}" for name, kinds in SPELT.items())
    made.append(f"CREATE TABLE spelt (id BIGINT PRIMARY KEY, touched BIGINT, {columns})")
    return ";\n".join(made) + ";\n"


def fill(connection: sqlite3.Connection) -> None:
    marks = ", ".join("?" * len(SPELT))
    connection.execute(f"INSERT INTO spelt VALUES (1, 0, {marks})", [kinds[3] for kinds in SPELT.values()])


@pytest.fixture(scope="module")
def pair(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPair]:
    name = f"k_{uuid.uuid4().hex[:12]}"
    url = postgres_server.create_database(name)
    made = make_pair_of(tmp_path_factory.mktemp("kinds"), url, ddl(Side.SQLITE), ddl(Side.POSTGRES), fill)
    yield made
    made.applier.stores.close()
    postgres_server.drop_database(name)


def stored(pair: SmallPair, table: str, names: list[str]) -> list[tuple[Any, ...]]:
    """Every byte of a table, and how it is stored."""
    with sqlite3.connect(pair.path) as sqlite:
        fields = ", ".join(f"typeof({name}), quote({name})" for name in names)
        rows = sqlite.execute(f"SELECT id, {fields} FROM {table} ORDER BY id").fetchall()
    sqlite.close()
    return rows


def read(url: str) -> list[dict[str, Any]]:
    """What the application reads; a moment of SQLite has no zone and means UTC."""
    engine = sa.create_engine(url)
    with Session(engine) as session:
        found = session.scalars(sa.select(Thing).order_by(Thing.id)).all()
        rows = [{name: _utc(getattr(thing, name)) for name in VALUES} for thing in found]
    engine.dispose()
    return rows


def _utc(value: Any) -> Any:
    return (
        value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value
    )


def set_aside(pair: SmallPair) -> list[tuple[Any, ...]]:
    postgres = pair.applier.stores.postgres.connection
    return postgres.execute("SELECT k, col, reason FROM st_quarantine ORDER BY k").fetchall()


def there_and_back(pair: SmallPair, table: str) -> None:
    """PostgreSQL becomes primary and changes every row a little; they come back to SQLite, which takes over."""
    pair.settle()
    assert set_aside(pair) == []
    pair.move(Side.POSTGRES)
    pair.write(f"UPDATE {table} SET touched = touched + 1")
    pair.settle()
    pair.move(Side.SQLITE)


@FEW
@given(
    rows=st.lists(
        st.fixed_dictionaries({k: st.none() | v for k, v in VALUES.items()}), min_size=1, max_size=12
    )
)
def test_an_orm_reads_the_same_on_both_sides_and_finds_its_bytes_again(
    pair: SmallPair, rows: list[dict[str, Any]]
) -> None:
    ours = f"sqlite:///{pair.path}"
    engine = sa.create_engine(ours)
    with Session(engine) as session, session.begin():
        session.execute(sa.delete(Thing))
        session.add_all([Thing(id=n, **row) for n, row in enumerate(rows)])
    engine.dispose()
    written = read(ours)
    before = stored(pair, "things", list(VALUES))
    pair.settle()
    assert read(pair.url) == written == [{k: _utc(v) for k, v in row.items()} for row in rows]
    there_and_back(pair, "things")
    assert stored(pair, "things", list(VALUES)) == before
    assert read(ours) == written


@FEW
@given(
    rows=st.lists(
        st.fixed_dictionaries({k: st.none() | v[2] for k, v in SPELT.items()}), min_size=1, max_size=12
    )
)
# A number alone is a document, too; written in full, its digits are others.
@example(rows=[{k: v[3] for k, v in SPELT.items()} | {"j_text": text} for text in ("1.50", "1e+16", " -0.0")])
def test_each_spelling_comes_back_byte_for_byte(pair: SmallPair, rows: list[dict[str, Any]]) -> None:
    with sqlite3.connect(pair.path) as sqlite:
        sqlite.execute("DELETE FROM spelt")
        marks = ", ".join("?" * len(SPELT))
        sqlite.executemany(
            f"INSERT INTO spelt VALUES (?, 0, {marks})",
            [(n, *(row[name] for name in SPELT)) for n, row in enumerate(rows)],
        )
    sqlite.close()
    before = stored(pair, "spelt", list(SPELT))
    there_and_back(pair, "spelt")
    assert pair.applier.stores.postgres.connection.execute(
        "SELECT count(*) FROM st_quarantine"
    ).fetchone() == (0,)
    assert stored(pair, "spelt", list(SPELT)) == before


NEW: list[tuple[str, str, Any]] = [
    ("u_hyphens", "'{00000000-0000-0000-0000-0000000000ff}'", "00000000-0000-0000-0000-0000000000ff"),
    ("u_capitals", "'000000000000000000000000000000ff'", "00000000-0000-0000-0000-0000000000FF"),
    ("u_braces", "'000000000000000000000000000000ff'", "{00000000-0000-0000-0000-0000000000ff}"),
    ("u_bytes", "'000000000000000000000000000000ff'", bytes(15) + b"\xff"),
    ("t_iso", "'2026-02-03 04:05:06'", "2026-02-03T04:05:06"),
    ("i_zulu", "'2026-02-03 04:05:06+01'", "2026-02-03T03:05:06.000000Z"),
    ("i_utc", "'2026-02-03 04:05:06+01'", "2026-02-03 03:05:06+00:00"),
    ("i_india", "'2026-02-03 04:05:06.5+01'", "2026-02-03T08:35:06.500000+05:30"),
    ("l_micros", "'1 day 00:00:01'", 86_401_000_000),
    ("l_iso", "'-1 second'", "1969-12-31T23:59:59"),
    ("n_text", "12345678901234567890.1", "12345678901234567890.10"),
    ("c_short", "'04:05'", "04:05:00"),
    ("j_text", """'{"a" :1}'""", '{"a" :1}'),
    ("j_sorted", """'{"bb": [1, "é: ,"], "a": 2}'""", '{"a":2,"bb":[1,"\\u00e9: ,"]}'),
    ("a_any", "'2001:DB8::0:1'", "2001:db8::1"),
    ("a_net", "'10.0.0.0/8'", "10.0.0.0/8"),
    ("r_short", "0.2", 0.2),
    ("r_wide", "0.2", 0.20000000298023224),
    ("w_fold", "'Zz'", "Zz"),
    ("w_short", "'ab  '", "ab"),
]


@pytest.mark.parametrize(("column", "written", "expected"), NEW, ids=[item[0] for item in NEW])
def test_what_is_new_on_postgresql_is_spelt_as_its_column_is(
    pair: SmallPair, column: str, written: str, expected: Any
) -> None:
    pair.move(Side.POSTGRES)
    kind = SPELT[column][1]
    pair.write(
        f"INSERT INTO spelt (id, {column}) VALUES (1000, {written}::{kind}) ON CONFLICT (id) DO NOTHING"
    )
    pair.write(f"UPDATE spelt SET {column} = {written}::{kind} WHERE id = 1000")
    pair.settle()
    with sqlite3.connect(pair.path) as sqlite:
        assert sqlite.execute(f"SELECT {column} FROM spelt WHERE id = 1000").fetchone() == (expected,)
    sqlite.close()
    pair.write("DELETE FROM spelt WHERE id = 1000")
    pair.settle()


HELD_BACK = [
    ("exact", "12345678901234.5678", "numeric"),
    ("length", "'1 month'", "interval"),
    ("instant", "'infinity'", "timestamptz"),
    ("instant", "'0044-03-15 BC'", "timestamptz"),
    ("length", "'9000 years'::interval - '9000 years'::interval + '20000000 days'", "interval"),
    ("doc", "'1234567890123456789.5'", "json"),
    ("docb", "'1e400'", "jsonb"),
]


def test_what_sqlite_would_change_is_set_aside_by_name(pair: SmallPair) -> None:
    """A numeric column of SQLite keeps 15 digits, and a month has no length: neither is written as something else."""
    pair.move(Side.POSTGRES)
    pair.write("ALTER TABLE things ALTER exact TYPE numeric")
    for n, (column, written, kind) in enumerate(HELD_BACK):
        pair.write(f"INSERT INTO things (id, touched, {column}) VALUES ({2000 + n}, 0, ({written})::{kind})")
    pair.applier.forget_schema()
    pair.settle()
    assert [row[:2] for row in set_aside(pair)] == [
        (str(2000 + n), item[0]) for n, item in enumerate(HELD_BACK)
    ]
    pair.write("DELETE FROM things WHERE id >= 2000")
    pair.settle()
    assert set_aside(pair) == []
