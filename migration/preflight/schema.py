"""What of the SQLite schema PostgreSQL, capture or apply cannot follow."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import psycopg

from app.db.common.urls import Side
from app.db.revisions.ddl import narrow_columns
from app.db.rows.catalog import BOOKKEEPING, not_computable, postgres_columns, quote, takes_part
from app.db.rows.conversions import CONVERSIONS
from app.db.rows.kinds import Kind, can_be_key
from app.db.rows.policy import ORPHANS_TO_NULL, REFUSE, Policy
from app.db.sides import tables
from app.db.sides.control import is_prepared_sqlite
from app.db.sides.postgres.folds import FOLDS
from migration.preflight.findings.compared import keyless
from migration.preflight.findings.report import SHOWN_KEYS, Finding, Severity
from migration.preflight.findings.shapes import Index, Shape, as_other_type
from migration.preflight.findings.wording import respelt

NAME_BYTES = 63
_SAME_REVISION = "run st-migrate schema upgrade, which brings both sides to the same revision"
_ANEW = "make the file anew in UTF-8, with the application stopped: sqlite3 OLD .dump | sqlite3 NEW"
_SAME_INSTALLER = "have the application's own installer or migration of one version make both sides"


def _blocks(code: str, reason: str, remedy: str, table: str = "", column: str = "") -> Finding:
    return Finding(code, Severity.BLOCKS, reason, remedy, table=table, column=column)


def _warns(code: str, reason: str, remedy: str, table: str, column: str = "") -> Finding:
    return Finding(code, Severity.WARNS, reason, remedy, table=table, column=column)


def _same(installed: bool) -> str:
    return _SAME_INSTALLER if installed else _SAME_REVISION


def table_findings(sqlite: sqlite3.Connection, shape: Shape, *, installed: bool = False) -> Iterator[Finding]:
    """What stands in the way of one table.

    Args:
        installed: its counterpart on PostgreSQL is the work of the application's own installer.
    """
    table = shape.table
    if not table.key:
        yield keyless(sqlite, shape, installed)
    encoding = sqlite.execute("PRAGMA encoding").fetchone()[0]
    for column in table.key:
        if not can_be_key(column.kind, column.cast):
            told = f"a key column of type {column.cast}, which cannot be a key"
            remedy = "give the table another primary key in a migration"
            yield _blocks("schema.key_type", told, remedy, table.name, column.name)
        elif column.kind is Kind.TEXT and encoding != "UTF-8":
            told = f"the file stores texts as {encoding}, whose bytes have another order than those of UTF-8"
            yield _blocks("schema.key_collation", told, _ANEW, table.name, column.name)
    for column_name, kind in shape.unsupported.items():
        yield _blocks(
            "schema.type",
            f"type {kind} of PostgreSQL has no canonical form",
            as_other_type(table.name, column_name, kind)
            + f"leave the column out: --leave-out {table.name}.{column_name}, or use a type that both databases have"
            if installed
            else "use a type that both databases have, such as text or JSON",
            table.name,
            column_name,
        )
    if shape.source == "declared" and not installed:
        yield _warns(
            "schema.unknown_table",
            "no model declares this table; prepare refuses it unless the Alembic chain makes it",
            f"drop it if it is a leftover, add it to the chain, or leave it out: --leave-out {table.name}",
            table.name,
        )
    yield from _unknown_columns(shape, _same(installed))
    yield from _index_findings(sqlite, shape, installed)
    yield from _generated(sqlite, table.name)
    try:  # compiling it finds a key that refers to nothing unique; nothing is read
        sqlite.execute(f"EXPLAIN PRAGMA foreign_key_check({quote(table.name)})").fetchone()
    except sqlite3.OperationalError as error:
        yield _blocks(
            "schema.foreign_key",
            f"a foreign key cannot be checked: {error}",
            "it must refer to a primary key or unique columns of its parent: mend it in a migration",
            table.name,
        )


def _unknown_columns(shape: Shape, remedy: str) -> Iterator[Finding]:
    """Columns that one side does not have, or no model."""
    ours = {column.name for column in shape.table.columns} | shape.unsupported.keys()
    if shape.source == "postgres":
        only_ours, only_theirs = ours - shape.known, set(shape.known - ours)
        yield from respelt(only_ours, only_theirs, shape.table.name)
        for name in sorted(only_ours ^ only_theirs):
            yield _blocks(
                "schema.drift",
                f"the column is only on {'SQLite' if name in ours else 'PostgreSQL'}",
                f"{remedy}, or leave it out: --leave-out {shape.table.name}.{name}",
                shape.table.name,
                name,
            )
    elif shape.source == "models":
        for name in sorted(ours - shape.known):
            yield _warns(
                "schema.unknown_column",
                "no model declares this column; prepare refuses it unless the Alembic chain makes it",
                "drop it if it is a leftover, or add it to the chain",
                shape.table.name,
                name,
            )


def _index_findings(sqlite: sqlite3.Connection, shape: Shape, installed: bool) -> Iterator[Finding]:
    name = shape.table.name
    for index in shape.indexes:
        columns = ", ".join(index.columns)
        if index.unique and (problem := not_computable(sqlite, name, index.sql)):
            yield Finding(
                "schema.expression_index",
                Severity.BLOCKS,
                f"unique index {index.name} cannot be worked out: {problem}",
                f"DROP INDEX {quote(index.name)} (on SQLite) for the time of the move, because only the application "
                "knows the function; or make it a unique index over columns",
                table=name,
                column=columns,
                on_sqlite=f"DROP INDEX {quote(index.name)}",
                undo=index.sql,
            )
        if index.collation and not shape.folds_there(index.columns):
            yield _collated(name, index, columns, installed)
        if index.partial and index.unique and not installed:  # compared with those of PostgreSQL elsewhere
            yield _warns(
                "schema.partial_index",
                f"unique index {index.name} is partial on SQLite; the chain must make it so on both sides",
                "give the index both sqlite_where and postgresql_where",
                name,
                columns,
            )


def _collated(table: str, index: Index, columns: str, installed: bool) -> Finding:
    """What a collation of SQLite's means for an index: `=` on PostgreSQL goes by bytes."""
    if index.name == "primary key":
        return _blocks(
            "schema.key_collation",
            f"the primary key collates {index.collation}: it is cut into ranges in byte order",
            "let the key and its columns collate BINARY",
            table,
            columns,
        )
    if index.unique and (index.collation.upper() not in FOLDS or (index.partial and not installed)):
        return _blocks(
            "schema.collation",
            f"unique index {index.name} collates {index.collation}"
            f"{' and is partial' if index.partial else ''}: nothing on PostgreSQL is known to mean the same",
            "make it a whole unique index that collates BINARY, NOCASE or RTRIM",
            table,
            columns,
        )
    if index.unique and not installed:
        return _warns(
            "schema.collation",
            f"unique index {index.name} collates {index.collation}: prepare makes one of the same meaning on "
            "PostgreSQL, whose = tells apart what SQLite's does not",
            "nothing for the key; make the application's queries fold what they look for",
            table,
            columns,
        )
    return _warns(
        "schema.collation",
        f"index {index.name} collates {index.collation}; PostgreSQL compares by bytes, "
        "so values that differ in case become different there",
        "make the application write one spelling",
        table,
        columns,
    )


def _generated(sqlite: sqlite3.Connection, table: str) -> Iterator[Finding]:
    for row in sqlite.execute(f"PRAGMA table_xinfo({quote(table)})").fetchall():
        if row[6] in (2, 3):
            yield Finding(
                "schema.generated_column",
                Severity.INFO,
                "a generated column is left out: each side computes its own, and nothing compares them",
                "nothing, if the column is generated on PostgreSQL as well",
                table=table,
                column=row[1],
            )


def database_findings(
    sqlite: sqlite3.Connection, virtual: Mapping[str, Collection[str]], *, installed: bool
) -> Iterator[Finding]:
    """Views, virtual and reserved tables, and names that PostgreSQL would cut.

    Args:
        virtual: see `virtual_tables`.
        installed: PostgreSQL's tables stand there already, with indexes of whatever names.
    """
    objects = sqlite.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    ours = set(tables.names(Side.SQLITE)) if is_prepared_sqlite(sqlite) else set()
    for kind, name, _, _ in objects:
        if kind != "trigger" and name.lower() in BOOKKEEPING and name not in ours:
            yield _blocks(
                "schema.reserved_name",
                f"the {kind} {name} has the name of one of our own tables",
                "rename it in a migration",
                "",  # also where it is left out
            )
        elif kind == "view":
            yield Finding(
                "schema.view",
                Severity.INFO,
                f"view {name} is not moved",
                "if it is used, let the Alembic chain make it on both sides",
                table=name,
            )
        elif name in virtual:
            yield _blocks(
                "schema.virtual_table",
                f"a virtual table cannot be moved, nor the {len(virtual[name])} tables that it is made of",
                f"leave it out with them: --leave-out {name}",
                name,
            )
    named = ("table",) if installed else ("table", "index")
    yield from _names(sqlite, [(kind, name) for kind, name, _, _ in objects if kind in named])


def _names(sqlite: sqlite3.Connection, names: list[tuple[str, str]]) -> Iterator[Finding]:
    cut: dict[bytes, str] = {}
    for kind, name in names:
        if not takes_part(name):
            continue
        short = name.encode()[:NAME_BYTES]
        if short in cut:
            yield _blocks(
                "schema.name_collision",
                f"{kind} {name} and {cut[short]} are one name when cut to {NAME_BYTES} bytes",
                "rename one of them in a migration",
                name,
            )
        cut[short] = name
        if len(name.encode()) > NAME_BYTES:
            yield _blocks(
                "schema.long_name", f"{kind} name of more than {NAME_BYTES} bytes", "shorten it", name
            )
        if kind == "table":
            for row in sqlite.execute(f"PRAGMA table_xinfo({quote(name)})").fetchall():
                if len(row[1].encode()) > NAME_BYTES:
                    yield _blocks(
                        "schema.long_name",
                        f"column name of more than {NAME_BYTES} bytes",
                        "shorten it",
                        name,
                        row[1],
                    )


def drift(
    sqlite_tables: set[str],
    postgres: psycopg.Connection[object],
    excluded: Collection[str] = (),
    *,
    installed: bool = False,
) -> Iterator[Finding]:
    """Tables that one side alone has. Where no installer has run, that is said once, elsewhere."""
    remedy = _same(installed)
    theirs = set(postgres_columns(postgres)) - set(excluded)
    installed_there = sqlite_tables & theirs
    only_ours, only_theirs = sqlite_tables - theirs, theirs - sqlite_tables
    yield from respelt(only_ours, only_theirs)
    for name in sorted(only_theirs if installed_there or not installed else ()):
        yield _blocks(
            "schema.drift",
            "the table is only on PostgreSQL",
            f"{remedy}; if it has nothing to do with the application, leave it out: --leave-out {name}",
            name,
        )
    for name in sorted(only_ours if installed_there else ()):
        yield _blocks(
            "schema.drift",
            "the table is only on SQLite",
            f"{remedy}; if the application does without it, leave it out: --leave-out {name}",
            name,
        )


def narrow_findings(postgres: psycopg.Connection[Any], *, installed: bool = False) -> Iterator[Finding]:
    """Columns that a migration made too narrow, because it was not run by `app.db`."""
    narrow = narrow_columns(postgres)
    if narrow and installed:
        yield Finding(
            "postgres.narrow_column",
            Severity.INFO,
            "columns on PostgreSQL take less than SQLite does, as the application declared them",
            "nothing: values of today that do not fit are named; later ones would go to quarantine",
            count=len(narrow),
            keys=tuple(narrow[:SHOWN_KEYS]),
        )
    elif narrow:
        yield Finding(
            "postgres.narrow_column",
            Severity.WARNS,
            "columns on PostgreSQL refuse values that SQLite accepts",
            "run st-migrate schema upgrade, which widens them",
            count=len(narrow),
            keys=tuple(narrow[:SHOWN_KEYS]),
        )


def policy_findings(shapes: dict[str, Shape], policy: Policy) -> Iterator[Finding]:
    """Choices in the policy file that can never apply."""
    for (table, column), names in policy.columns.items():
        shape = shapes.get(table)
        found = next((c for c in shape.table.columns if c.name == column), None) if shape else None
        if shape is None or found is None:
            yield _blocks(
                "policy.unknown_column",
                f"{policy.source} names a column that does not exist",
                "correct the name",
                table,
                column,
            )
            continue
        if column in shape.table.key_names:
            yield _blocks(
                "policy.key_column",
                "values of a key are never converted: two rows could become one",
                "change the keys on SQLite",
                table,
                column,
            )
        for name in names:
            conversion = CONVERSIONS.get(name)
            if shape.source == "declared" and found.kind is Kind.BLOB:
                continue  # a column of no declared type: PostgreSQL's table will say what it is
            if name not in (REFUSE, ORPHANS_TO_NULL) and conversion and found.kind not in conversion.kinds:
                yield _blocks(
                    "policy.kind",
                    f"{name} does not apply to a {found.kind} column",
                    "choose another policy; findings list those that fit",
                    table,
                    column,
                )
