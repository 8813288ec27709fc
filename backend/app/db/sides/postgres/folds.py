"""Unique indexes of SQLite that compare texts otherwise than by bytes, and what means the same on PostgreSQL.

SQLite's NOCASE takes the 26 letters of ASCII for one in both cases, and no other letter. RTRIM overlooks
blanks at the end. `lower(c COLLATE "C")` and `rtrim(c, ' ')` do the same on PostgreSQL. Whether an existing
index means the same is not read off its text. Both databases sort some telling words into groups, and the
groups are compared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg

from app.db.rows.catalog import Column, Table, literal, quote

FOLDS = {"NOCASE": 'lower({0} COLLATE "C")', "RTRIM": "rtrim({0}, ' ')"}
_NAME_BYTES = 63
_WORDS = (
    "a",
    "A",
    "b",
    "a ",
    " a",
    "A ",
    "ä",
    "Ä",
    "ß",
    "ss",
    "SS",
    "i",
    "I",
    "ı",
    "İ",
    "k",
    "\u212a",
    "é",
    "e\u0301",
    "",
)
_UNIQUES = """
SELECT i.indexrelid::regclass::text, i.indpred IS NOT NULL,
       (SELECT array_agg(DISTINCT a.attname::text) FROM pg_depend d
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
        WHERE d.objid = i.indexrelid AND d.refobjid = i.indrelid AND d.refobjsubid > 0),
       array(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnkeyatts) n)
FROM pg_index i WHERE i.indrelid = %s::regclass AND i.indisunique
"""
_TYPES = """
SELECT a.attname, format_type(a.atttypid, NULL), c.collname, cn.nspname
FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation
LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace
WHERE a.attrelid = %s::regclass AND a.attname = ANY(%s)
"""


@dataclass(frozen=True)
class Folded:
    """A unique index of SQLite: its columns, each with its collation, and whether it is partial."""

    table: str
    name: str
    columns: tuple[tuple[str, str], ...]
    partial: bool

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.columns)

    def name_beside(self, taken: set[str]) -> str:
        """Its name on PostgreSQL, where some names are taken."""
        stem = (
            f"{self.table}_{'_'.join(name for name, _ in self.columns)}"
            if self.name.startswith("sqlite_")
            else self.name
        )
        name, n = _cut(stem), 0
        while name in taken:
            n += 1
            name = _cut(stem, f"_fold{n}")
        return name

    def statement(self, taken: set[str]) -> str:
        """The CREATE INDEX that means the same on PostgreSQL, under a name that is not taken."""
        name = self.name_beside(taken)
        parts = (
            FOLDS[collation].replace("{0}", quote(c)) if collation in FOLDS else quote(c)
            for c, collation in self.columns
        )
        return f"CREATE UNIQUE INDEX {quote(name)} ON {quote(self.table)} ({', '.join(parts)})"


def _cut(stem: str, end: str = "") -> str:
    return stem.encode()[: _NAME_BYTES - len(end)].decode(errors="ignore") + end


def folded_uniques(sqlite: sqlite3.Connection, table: str, texts: Mapping[str, Column]) -> Iterator[Folded]:
    """The unique indexes of a table that compare some text otherwise than by bytes.

    Args:
        texts: its columns that hold texts; what collates another kind makes no difference.
    """
    for _, name, unique, origin, partial in sqlite.execute(f"PRAGMA index_list({quote(table)})").fetchall():
        parts = [row for row in sqlite.execute(f"PRAGMA index_xinfo({quote(name)})").fetchall() if row[5]]
        if not unique or origin == "pk" or any(row[2] is None for row in parts):
            continue
        columns = tuple((row[2], row[4].upper() if row[2] in texts else "BINARY") for row in parts)
        if any(collation in FOLDS for _, collation in columns):
            yield Folded(table, name, columns, bool(partial))


def texts_of(table: Table) -> dict[str, Column]:
    """The columns of a table that hold texts, enums left out."""
    return {column.name: column for column in table.columns if column.kind == "text" and not column.labels}


def has_counterpart(postgres: psycopg.Connection[Any], index: Folded) -> bool:
    """Whether PostgreSQL has a unique index that calls the same rows equal."""
    table = quote(index.table)
    wanted = sorted(map(_groups_on_sqlite, (collation for _, collation in index.columns)), key=repr)
    for _, partial, names, parts in postgres.execute(_UNIQUES, (table,)).fetchall():
        if set(names or ()) == index.names and len(parts) == len(index.columns) and partial == index.partial:
            found = [_groups_on_postgres(postgres, table, index.names, part) for part in parts]
            if sorted(map(repr, found)) == sorted(map(repr, wanted)):
                return True
    return False


@cache
def _groups_on_sqlite(collation: str) -> tuple[tuple[int, ...], ...]:
    memory = sqlite3.connect(":memory:")
    try:
        memory.execute("CREATE TABLE words (n INTEGER, w TEXT)")
        memory.executemany("INSERT INTO words VALUES (?, ?)", enumerate(_WORDS))
        rows = memory.execute(f"SELECT group_concat(n) FROM words GROUP BY w COLLATE {collation}").fetchall()
    finally:
        memory.close()
    return _sorted(tuple(map(int, text.split(","))) for (text,) in rows)


def _groups_on_postgres(
    postgres: psycopg.Connection[Any], table: str, names: frozenset[str], part: str
) -> tuple[tuple[int, ...], ...] | None:
    """How a part of an index groups the words, which each column holds. None if it takes no words."""
    words = ", ".join(f"({n}, {literal(word)})" for n, word in enumerate(_WORDS))
    columns = [
        f"w::{kind}{f' COLLATE {quote(schema)}.{quote(collation)}' if collation else ''} AS {quote(name)}"
        for name, kind, collation, schema in postgres.execute(_TYPES, (table, list(names))).fetchall()
    ]
    query = f"SELECT array_agg(n) FROM (SELECT n, {', '.join(columns)} FROM (VALUES {words}) AS v (n, w)) AS t GROUP BY {part}"
    try:
        with postgres.transaction():
            return _sorted(map(tuple, (row[0] for row in postgres.execute(query.encode()).fetchall())))
    except psycopg.Error:
        return None


def _sorted(groups: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def relation_names(postgres: psycopg.Connection[Any]) -> set[str]:
    """The names of tables and indexes that are taken."""
    query = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
    return {name for (name,) in postgres.execute(query).fetchall()}


def make(postgres: psycopg.Connection[Any], index: Folded) -> str:
    """Make the counterpart, in the caller's transaction. Returns its name."""
    taken = relation_names(postgres)
    postgres.execute(index.statement(taken).encode())
    return index.name_beside(taken)
