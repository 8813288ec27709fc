"""What each table will be on PostgreSQL, told before it is there.

The tables of PostgreSQL are the truth where they exist. Before `prepare` the models are the truth (their
types compiled for PostgreSQL). A table that no model knows is judged by its declared SQLite types.
"""

from __future__ import annotations

import importlib
import re
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from app.db.common.settings import IN_APPLICATION
from app.db.rows.catalog import (
    NARROW,
    Column,
    Table,
    affinity,
    enum_labels,
    folds,
    limit_of,
    normal_declared,
    parts_and_condition,
    postgres_columns,
    quote,
    sqlite_columns,
)
from app.db.rows.kinds import POSTGRES_KINDS, Kind

_POSTGRES = PGDialect_psycopg()  # type: ignore[no-untyped-call]
_ALIASES = {
    "varchar": "text",
    "char": "character",
    "float": "double precision",
    "timestamp": "timestamp without time zone",
    "time": "time without time zone",
    "decimal": "numeric",
}
_DECLARED = {
    "DATETIME": Kind.TIMESTAMP,
    "TIMESTAMP": Kind.TIMESTAMP,
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
    "BOOLEAN": Kind.BOOLEAN,
    "BOOL": Kind.BOOLEAN,
    "JSON": Kind.JSON,
    "JSONB": Kind.JSONB,
    "TIMESTAMPTZ": Kind.INSTANT,
    "TIMESTAMP WITH TIME ZONE": Kind.INSTANT,
    "INTERVAL": Kind.INTERVAL,
    "INET": Kind.ADDRESS,
    "CIDR": Kind.ADDRESS,
    "UUID": Kind.UUID,
    "FLOAT4": Kind.REAL,
    "NUMERIC": Kind.NUMERIC,
    "DECIMAL": Kind.NUMERIC,
}


@dataclass(frozen=True)
class Index:
    """An index or unique key of the SQLite table.

    `columns` are its plain columns; `expression` says that it has others. `collation` is the first of
    its columns' collations that is not BINARY. `predicate` is the condition of a partial index, `sql` what made it.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    partial: bool = False
    expression: bool = False
    collation: str = ""
    predicate: str = ""
    sql: str = ""


@dataclass(frozen=True)
class Shape:
    """A table as the checks need it.

    Args:
        table: columns with their kinds, and the key (empty if there is none).
        lengths: declared text lengths, which PostgreSQL drops.
        narrow: integer columns that were declared with 32 bits.
        indexes: all indexes, the primary key first.
        unsupported: columns whose type has no canonical form, with that type.
        source: where the kinds come from: postgres, models or declared.
        known: the columns that the source has.
        limits: `lengths` and `narrow` are those of PostgreSQL's own columns, which stay.
        key_there: the columns by which PostgreSQL names the rows, where the table stands there.
    """

    table: Table
    lengths: dict[str, int]
    narrow: frozenset[str]
    indexes: tuple[Index, ...]
    unsupported: dict[str, str] = field(default_factory=dict)
    source: str = "declared"
    known: frozenset[str] = frozenset()
    limits: bool = False
    key_there: tuple[str, ...] = ()

    def folds_there(self, columns: Collection[str]) -> bool:
        """Whether PostgreSQL overlooks case in all of these columns."""
        return {column.cast for column in self.table.columns if column.name in columns} == {"citext"}

    def without(self, columns: Collection[str]) -> Shape:
        """The same table without some of its columns, on either side; a key stays whole."""
        columns = set(columns) - set(self.table.key_names)
        if not columns:
            return self
        kept = tuple(column for column in self.table.columns if column.name not in columns)
        return replace(
            self,
            table=replace(self.table, columns=kept),
            indexes=tuple(index for index in self.indexes if not set(index.columns) & set(columns)),
            unsupported={name: kind for name, kind in self.unsupported.items() if name not in columns},
            known=self.known - set(columns),
        )


def models() -> sa.MetaData:
    """The backend's models, where these files are part of a backend. No tables otherwise."""
    if not IN_APPLICATION:
        return sa.MetaData()
    importlib.import_module("app.models")
    metadata: sa.MetaData = importlib.import_module("app.db.base").Base.metadata
    return metadata


def kind_of(type_text: str) -> Kind | None:
    """The kind of a PostgreSQL type as DDL or format_type() spells it. None if it has no canonical form."""
    bare = re.sub(r"\s*\([^)]*\)|\s*COLLATE .*", "", type_text, flags=re.IGNORECASE).strip().lower()
    return POSTGRES_KINDS.get(_ALIASES.get(bare, bare))


def declared_kind(declared: str) -> Kind:
    """The kind that a declared SQLite type stands for, by its name and else by SQLite's affinity rules."""
    name = normal_declared(declared)
    if name in _DECLARED:
        return _DECLARED[name]
    if "INT" in name:
        return Kind.INTEGER
    if any(word in name for word in ("CHAR", "CLOB", "TEXT")):
        return Kind.TEXT
    if "BLOB" in name or not name:
        return Kind.BLOB
    return Kind.FLOAT if any(word in name for word in ("REAL", "FLOA", "DOUB")) else Kind.NUMERIC


def read_shapes(
    sqlite: sqlite3.Connection,
    postgres: psycopg.Connection[Any] | None,
    metadata: sa.MetaData,
    *,
    limits: bool = False,
) -> dict[str, Shape]:
    """The shape of every application table of the SQLite file.

    Args:
        limits: what PostgreSQL's columns do not take stays so, because nobody widens them.
    """
    theirs = postgres_columns(postgres) if postgres is not None else {}
    labels = enum_labels(postgres) if postgres is not None else {}
    ours = sqlite_columns(sqlite)
    spelt = {name: name if name in theirs else _respelt(name, theirs.keys() - ours.keys()) for name in ours}
    return {
        name: replace(
            _shape(sqlite, name, columns, _types(name, spelt[name], theirs, labels, metadata), limits),
            key_there=key_of(theirs.get(spelt[name], [])),
        )
        for name, columns in ours.items()
    }


def _respelt(name: str, theirs: Collection[str]) -> str:
    """How PostgreSQL spells a name that has other capitals there; the name itself if it is not there."""
    return next((other for other in sorted(theirs) if other.lower() == name.lower()), name)


def key_of(columns: list[tuple[str, str, str, bool, bool, int]]) -> tuple[str, ...]:
    """The columns by which PostgreSQL names the rows of a table, in their order there."""
    return tuple(name for *_, place, name in sorted((c[5], c[0]) for c in columns) if place >= 0)


# The source, and of each column: its type, whether it is nullable if that is known, and an enum's labels.
_Types = tuple[str, dict[str, tuple[str, bool | None, frozenset[str]]]]


def _types(
    table: str,
    spelt: str,
    theirs: dict[str, list[tuple[str, str, str, bool, bool, int]]],
    labels: dict[str, frozenset[str]],
    metadata: sa.MetaData,
) -> _Types:
    if spelt in theirs:
        return "postgres", {
            name: ("text" if enum else full, nullable, labels.get(base, frozenset()))
            for name, base, full, nullable, enum, _ in theirs[spelt]
        }
    if table in metadata.tables:
        return "models", {
            column.name: (_compiled(column.type), None, frozenset())
            for column in metadata.tables[table].columns
        }
    return "declared", {}


def _compiled(kind: sa.types.TypeEngine[Any]) -> str:
    return "text" if isinstance(kind, sa.Enum) else kind.compile(dialect=_POSTGRES)


def _shape(
    sqlite: sqlite3.Connection,
    name: str,
    columns: dict[str, tuple[str, bool, int]],
    types: _Types,
    limits: bool,
) -> Shape:
    source, there = types
    others = there.keys() - columns.keys()
    known = there | {c: there[o] for c in columns if c not in there and (o := _respelt(c, others)) in there}
    limits = limits and source == "postgres"
    lengths = (
        {c: text for c, (text, *_) in known.items()} if limits else {c: d for c, (d, _, _) in columns.items()}
    )
    parts: dict[str, Column] = {}
    unsupported: dict[str, str] = {}
    for column, (declared, nullable, position) in columns.items():
        text, known_nullable, labels = known.get(column, ("", None, frozenset()))
        kind = kind_of(text) if text else declared_kind(declared)
        if kind is None:
            unsupported[column] = text
            continue
        if kind is Kind.REAL and not limits:
            kind = Kind.FLOAT  # it is widened before a row comes
        allowed = nullable if known_nullable is None else known_nullable
        parts[column] = Column(
            column,
            kind,
            "bpchar" if text.startswith("character(") else text or str(kind),
            allowed and not position,
            labels,
            limit=limit_of(kind, text) if source == "postgres" else (),
            affinity=affinity(declared),
        )
    key_names = [c for c, (_, _, position) in sorted(columns.items(), key=lambda c: c[1][2]) if position]
    return Shape(
        table=Table(name, tuple(parts.values()), tuple(parts[c] for c in key_names if c in parts)),
        lengths={c: length for c, declared in lengths.items() if (length := _length(declared))},
        narrow=frozenset(c for c, (text, *_) in known.items() if text in NARROW)
        if limits
        else frozenset(c for c, (declared, _, _) in columns.items() if normal_declared(declared) != "BIGINT"),
        indexes=tuple(_indexes(sqlite, name, tuple(key_names))),
        unsupported=unsupported,
        source=source,
        known=frozenset(there),
        limits=limits,
    )


def _length(declared: str) -> int | None:
    found = re.fullmatch(r"[\w ]*CHAR[\w ]*\s*\((\d+)\)", declared.strip(), re.IGNORECASE)
    return int(found.group(1)) if found else None


def _indexes(sqlite: sqlite3.Connection, table: str, key: tuple[str, ...]) -> Iterator[Index]:
    listed = sqlite.execute(f"PRAGMA index_list({quote(table)})").fetchall()
    parts_of = {
        row[1]: [
            part for part in sqlite.execute(f"PRAGMA index_xinfo({quote(row[1])})").fetchall() if part[5]
        ]
        for row in listed
    }
    if key and not any(
        row[3] == "pk" or key == tuple(part[2] for part in parts_of[row[1]]) for row in listed
    ):
        yield Index("primary key", key, unique=True)  # the rowid itself, or WITHOUT ROWID
    for _, name, unique, origin, partial in sorted(listed, key=lambda row: row[3] != "pk"):
        parts = parts_of[name]
        collations = [row[4] for row in parts if row[4].upper() != "BINARY"]
        if origin == "pk":  # its index may compare by bytes where a look-up does not
            collations += filter(None, [folds(sqlite, table, row[2]) for row in parts])
        yield Index(
            "primary key" if origin == "pk" else name,
            tuple(row[2] for row in parts if row[2] is not None),
            unique=bool(unique),
            partial=bool(partial),
            expression=any(row[1] == -2 for row in parts),
            collation=next(iter(collations), ""),
            predicate=parts_and_condition(made_by(sqlite, name))[1] if partial else "",
            sql=made_by(sqlite, name),
        )


def made_by(sqlite: sqlite3.Connection, name: str) -> str:
    """The statement that made an index or a trigger. Empty for what a table made by itself."""
    found = sqlite.execute(
        "SELECT sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND name = ?", (name,)
    ).fetchone()
    return str(found[0]) if found and found[0] else ""


# Types that take the values of others and have a canonical form.
_TAKES_ALL = {
    "real": "double precision",
    "oid": "bigint",
    "name": "text",
    '"char"': "text",
    "xml": "text",
    "money": "numeric",
    "time with time zone": "time",
    "macaddr": "text",
    "macaddr8": "text",
    "ltree": "text",
    "bit": "text",
    "bit varying": "text",
}


def as_other_type(table: str, column: str, kind: str) -> str:
    """The statement that gives a column a type with a canonical form, where one takes all its values."""
    wider = _TAKES_ALL.get(kind)
    if wider is None:
        return ""
    return f"ALTER TABLE {quote(table)} ALTER COLUMN {quote(column)} TYPE {wider} (on PostgreSQL), or "
