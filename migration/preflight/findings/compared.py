"""Tables that the application's installer made on PostgreSQL, compared with those of SQLite.

What only a row can show is found by reading rows. Here stands what the two catalogs say: keys, NOT NULL, unique
keys. A difference that no row of today violates is a warning, because the two installers of an application may
differ on purpose. Nothing of it is changed by us.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import psycopg

from app.db.rows import key_sql
from app.db.rows.catalog import folds, postgres_columns, quote, sqlite_columns
from app.db.rows.kinds import can_be_key
from app.db.sides.postgres.folds import folded_uniques, has_counterpart, relation_names, texts_of
from migration.preflight.findings.report import SHOWN_KEYS, Finding, Severity
from migration.preflight.findings.shapes import Shape, key_of

_UNIQUES = """
SELECT t.relname, c.relname, i.indexprs IS NOT NULL, i.indpred IS NOT NULL,
  coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
  array_agg(a.attname ORDER BY a.attnum), coalesce(array_agg(a.attname) FILTER (WHERE y.typname = 'citext'), '{}')
FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1])
LEFT JOIN pg_type y ON y.oid = a.atttypid
WHERE i.indisunique AND NOT i.indisprimary AND t.relnamespace = current_schema()::regnamespace
GROUP BY 1, 2, 3, 4, 5, i.indexrelid
"""
_PRIMARY = """
SELECT t.relname FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
WHERE i.indisprimary AND t.relnamespace = current_schema()::regnamespace
"""
# Of a table without a key: among how many rows and columns those are looked for that tell the rows apart.
_FEW_ROWS, _FEW_COLUMNS = 20_000, 8
# With as many columns or fewer a table links others, and all its columns together name a row.
_LINK = 3
_SHORT = 200  # characters of a text that joins a key: an index takes some 2,700 bytes
_INSTALL = (
    "run the application's own installer or migration of the same version against PostgreSQL, then repeat"
)


class _Unique(NamedTuple):
    """A unique index of PostgreSQL."""

    name: str
    computed: bool
    partial: bool
    nulls_equal: bool
    columns: list[str]
    caseless: list[str]  # those of type citext


def installed_findings(
    sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any], shapes: Mapping[str, Shape]
) -> Iterator[Finding]:
    """What the catalogs say of tables that both sides have, or that one lacks."""
    theirs = postgres_columns(postgres)
    if not {name.lower() for name in shapes} & {name.lower() for name in theirs}:
        yield Finding(
            "schema.not_installed",
            Severity.BLOCKS,
            f"PostgreSQL has none of the {len(shapes)} tables of the SQLite file",
            _INSTALL,
        )
        return
    ours = sqlite_columns(sqlite)
    primary = {table for (table,) in postgres.execute(_PRIMARY).fetchall()}
    uniques: dict[str, list[_Unique]] = {}
    for table, *unique in postgres.execute(_UNIQUES).fetchall():
        uniques.setdefault(table, []).append(_Unique(*unique))
    for name in sorted(shapes.keys() & theirs.keys()):
        yield from _key(name, ours[name], theirs[name], has_primary=name in primary)
        yield from _not_null(name, ours[name], theirs[name])
        yield from _unique(sqlite, shapes[name], uniques.get(name, []))
        yield from _folded(sqlite, postgres, shapes[name])
        yield from _computed(shapes[name], uniques.get(name, []))


def keyless(sqlite: sqlite3.Connection, shape: Shape, installed: bool) -> Finding:
    """No primary key, and no unique key that could stand in for it."""
    name = shape.table.name
    reason = "the table has no primary key, so a changed row cannot be named"
    if not installed:
        return Finding(
            "schema.no_primary_key", Severity.BLOCKS, reason, "give it one in a migration", table=name
        )
    if folding := [column for column in shape.key_there if folds(sqlite, name, column)]:
        return Finding(
            "schema.no_primary_key",
            Severity.BLOCKS,
            f"{reason}, and {', '.join(folding)} overlooks case or blanks, so that no unique key could stand in",
            f"leave the table out: --leave-out {name}, and copy its rows by hand; or let the application make it anew "
            "with columns that collate BINARY",
            table=name,
        )
    found = () if shape.key_there else _naming(sqlite, shape)
    if not (shape.key_there or found) and _twice(sqlite, name):
        return Finding(
            "schema.no_primary_key",
            Severity.BLOCKS,
            f"{reason}, and rows of it are equal in every column, so that no unique key could stand in",
            f"leave the table out: --leave-out {name}, and copy its rows by hand; or delete the rows that stand twice "
            "and repeat",
            table=name,
        )
    columns = _list(shape.key_there or found) or "COLUMN, ..."
    index = f"CREATE UNIQUE INDEX {quote(_index_of(name))} ON {quote(name)} ({columns})"
    return Finding(
        "schema.no_primary_key",
        Severity.BLOCKS,
        f"{reason}, nor a unique key that covers every row and could stand in",
        f"{index} (on SQLite)"
        + (
            ", by the columns that name a row on PostgreSQL"
            if shape.key_there
            else f", and ALTER TABLE {quote(name)} ADD PRIMARY KEY ({columns}) (on PostgreSQL)"
        )
        + (", if no two rows will be equal in them, as today" if found else "")
        + f"; it stays until the end of the move. Or leave the table out: --leave-out {name}",
        table=name,
        on_sqlite=index if shape.key_there else "",
        undo=f"DROP INDEX {quote(_index_of(name))}" if shape.key_there else "",
    )


def _naming(sqlite: sqlite3.Connection, shape: Shape) -> tuple[str, ...]:
    """The columns of a key for the time of the move, in which no two rows of today are equal. Empty if none is seen.

    Three columns tell the rows apart at most. Those that the application needs in each row join them: a key of fewer
    columns might refuse a row of tomorrow. A narrow table without two rows has all its columns in the key.
    """
    table = quote(shape.table.name)
    fit = [
        column.name
        for column in shape.table.columns
        if can_be_key(column.kind, column.cast) and not folds(sqlite, shape.table.name, column.name)
    ]
    looks = ", ".join(f"count({quote(name)}), max(length({quote(name)})) <= {_SHORT}" for name in fit)
    rows, *seen = sqlite.execute(
        f"SELECT count(*), {looks or 0} FROM (SELECT * FROM {table} LIMIT {_FEW_ROWS + 1})"
    ).fetchone()
    short = dict(zip(fit, seen[1::2], strict=False))
    whole = [name for name, filled in zip(fit, seen[::2], strict=False) if filled == rows][:_FEW_COLUMNS]
    declared = sqlite.execute('SELECT name, "notnull" FROM pragma_table_info(?)', (shape.table.name,))
    links = len(shape.table.columns) <= _LINK
    needed = {name for name, never_null in declared if never_null or links}
    if rows <= 1 and links:
        return tuple(whole)
    for size in (1, 2, 3) if 1 < rows <= _FEW_ROWS else ():
        for columns in combinations(whole, size):
            query = f"SELECT 1 FROM {table} GROUP BY {_list(columns)} HAVING count(*) > 1 LIMIT 1"
            if sqlite.execute(query).fetchone() is None:
                return tuple(name for name in whole if name in columns or (name in needed and short[name]))
    return ()


def _twice(sqlite: sqlite3.Connection, table: str) -> bool:
    """Whether rows among the first are equal in every column."""
    first = f"(SELECT * FROM {quote(table)} LIMIT {_FEW_ROWS})"
    query = f"SELECT (SELECT count(*) FROM {first}) > (SELECT count(*) FROM (SELECT DISTINCT * FROM {first}))"
    return bool(sqlite.execute(query).fetchone()[0])


def _index_of(table: str) -> str:
    """The name of a unique index that the operator makes for the time of the move."""
    return f"{table}_names_rows"[-63:]


def _list(columns: tuple[str, ...]) -> str:
    return ", ".join(map(quote, columns))


def _folded(sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any], shape: Shape) -> Iterator[Finding]:
    """Unique keys that SQLite does not compare by bytes, and PostgreSQL compares otherwise."""
    taken = relation_names(postgres)
    for index in folded_uniques(sqlite, shape.table.name, texts_of(shape.table)):
        if not (shape.folds_there(index.names) or has_counterpart(postgres, index)):
            yield Finding(
                "schema.unique",
                Severity.WARNS,
                f"no unique index of PostgreSQL takes the same texts for equal as {index.name} does on SQLite. Rows "
                "that one side takes may go to quarantine on the other",
                f"let the application's own migration make one: {index.statement(taken)}",
                table=shape.table.name,
                column=", ".join(sorted(index.names)),
            )


def _computed(shape: Shape, theirs: Sequence[_Unique]) -> Iterator[Finding]:
    """Unique keys over expressions where PostgreSQL has none at all, and those of PostgreSQL that SQLite does not have."""
    for index in shape.indexes:
        if index.unique and index.expression and not any(item.computed for item in theirs):
            yield _unique_warning(
                shape,
                ", ".join(index.columns),
                f"{index.name} is unique on SQLite only: rows that PostgreSQL takes may go to quarantine after a cutover",
                f"let the application's own migration make one on PostgreSQL that means the same: {index.sql}",
            )
    names = {item.name for item in theirs}
    ours = {index.name: index for index in shape.indexes if index.unique}
    there = [item for item in theirs if (item.computed or item.partial) and item.name not in ours]
    here = [i for i in ours.values() if (i.collation or i.expression or i.partial) and i.name not in names]
    for item in there if len(there) > len(here) else ():  # else they may mean the same under other names
        yield _unique_warning(
            shape,
            ", ".join(filter(None, item.columns)),
            f"{item.name} is unique on PostgreSQL only, over an expression or some rows: equal rows would be refused",
            "nothing, if the application never stores equal rows there",
        )


def _unique_warning(shape: Shape, column: str, reason: str, remedy: str) -> Finding:
    return Finding("schema.unique", Severity.WARNS, reason, remedy, table=shape.table.name, column=column)


def _key(
    table: str,
    ours: dict[str, tuple[str, bool, int]],
    theirs: list[tuple[str, str, str, bool, bool, int]],
    *,
    has_primary: bool,
) -> Iterator[Finding]:
    on_sqlite = tuple(name for *_, place, name in sorted((c[2], n) for n, c in ours.items()) if place)
    on_postgres = key_of(theirs)
    if not on_sqlite or {name.lower() for name in on_sqlite} == {name.lower() for name in on_postgres}:
        return
    mend = ""
    if not has_primary and {column[0] for column in theirs}.issuperset(on_sqlite):
        mend = f"ALTER TABLE {quote(table)} ADD CONSTRAINT {quote(_index_of(table))} PRIMARY KEY ({_list(on_sqlite)})"
    yield Finding(
        "schema.key",
        Severity.BLOCKS,
        f"rows are named by ({', '.join(sorted(on_sqlite))}) on SQLite and "
        + (
            f"by ({', '.join(sorted(on_postgres))}) on PostgreSQL"
            if on_postgres
            else "by nothing on PostgreSQL: no primary key, and no unique key whose columns are all NOT NULL"
        ),
        (f"{mend} (on PostgreSQL)" if mend else "let the application make one key on both sides")
        + f", or leave the table out: --leave-out {table}",
        table=table,
        on_postgres=mend,
        undo=f"ALTER TABLE {quote(table)} DROP CONSTRAINT {quote(_index_of(table))}" if mend else "",
    )


def _not_null(
    table: str, ours: dict[str, tuple[str, bool, int]], theirs: list[tuple[str, str, str, bool, bool, int]]
) -> Iterator[Finding]:
    for name, _, _, nullable, _, place in theirs:
        if name not in ours or place >= 0 or ours[name][2]:
            continue
        if ours[name][1] and not nullable:
            yield Finding(
                "schema.not_null",
                Severity.WARNS,
                "PostgreSQL takes no NULL here and SQLite does: a row with a NULL would go to quarantine",
                "nothing, if the application never stores NULL there",
                table=table,
                column=name,
            )
        elif nullable and not ours[name][1]:
            yield Finding(
                "schema.not_null",
                Severity.WARNS,
                "SQLite takes no NULL here and PostgreSQL does: after a cutover a row with a NULL stays on PostgreSQL",
                "nothing, if the application never stores NULL there",
                table=table,
                column=name,
            )


def _unique(sqlite: sqlite3.Connection, shape: Shape, theirs: Sequence[_Unique]) -> Iterator[Finding]:
    table = shape.table
    columns = {column.name for column in table.columns}
    whole = [index for index in shape.indexes if index.unique and not index.expression and not index.partial]
    ours = {frozenset(index.columns) for index in whole if index.name != "primary key"}
    keys = {frozenset(table.key_names)}
    bytewise = {frozenset(index.columns) for index in whole if not index.collation}
    plain = {frozenset(item.columns): item for item in theirs if not item.computed and not item.partial}
    for wanted in sorted(plain, key=sorted):
        item = plain[wanted]
        if wanted in keys or not wanted <= columns:
            continue
        stricter = item.nulls_equal or bool(item.caseless)
        if wanted in ours and not stricter:
            continue
        count, found = _equal_rows(sqlite, shape, item)
        alone = (
            "which takes for equal what SQLite does not"
            if wanted in ours
            else "which is unique on PostgreSQL only"
        )
        if count:
            yield Finding(
                "row.duplicate",
                Severity.BLOCKS,
                f"rows that are equal under {item.name}, {alone}",
                "change or delete all but one row of each group on SQLite",
                table=table.name,
                column=", ".join(sorted(wanted)),
                count=count,
                keys=found,
            )
        elif wanted not in ours - bytewise:
            yield _unique_warning(
                shape,
                ", ".join(sorted(wanted)),
                f"equal rows under {item.name}, {alone}, would go to quarantine",
                "nothing, if the application never stores equal rows there",
            )
    for missing in sorted((ours & bytewise) - plain.keys() - keys, key=sorted):
        if missing <= columns:
            yield _unique_warning(
                shape,
                ", ".join(sorted(missing)),
                "the columns are unique on SQLite only: PostgreSQL would take equal rows",
                "let the application's own migration make the key on PostgreSQL, if it needs one",
            )


def _equal_rows(sqlite: sqlite3.Connection, shape: Shape, item: _Unique) -> tuple[int, tuple[str, ...]]:
    """How many rows are equal under a unique index, and the first groups of their keys.

    Of a citext the letters of ASCII are compared; what others it takes for equal is the server's affair.
    """
    table = shape.table
    if not table.key:
        return 0, ()
    names = ", ".join(f"lower({quote(c)})" if c in item.caseless else quote(c) for c in item.columns)
    present = "1" if item.nulls_equal else " AND ".join(f"{quote(c)} IS NOT NULL" for c in item.columns)
    groups = sqlite.execute(
        f"SELECT count(*), CAST(group_concat({key_sql.printed(table)}, ' = ') AS BLOB) FROM {quote(table.name)} "
        f"WHERE {present} GROUP BY {names} HAVING count(*) > 1"
    ).fetchall()
    shown = tuple(raw.decode("utf-8", "replace") for _, raw in groups[:SHOWN_KEYS])
    return sum(count for count, _ in groups), shown
