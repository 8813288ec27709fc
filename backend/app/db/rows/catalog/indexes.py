"""Unique keys of SQLite: what their indexes compare, and which rows they cover.

The catalog tells columns and collations. An expression and the condition of a partial index stand only in the
statement that made the index. So that statement is taken apart here, far enough to find where a part ends.
"""

from __future__ import annotations

import re
import sqlite3

from app.db.common.errors import SchemaDrift
from app.db.rows.catalog.keys import folds
from app.db.rows.catalog.tables import Unique, quote

BUILT_IN_COLLATIONS = ("BINARY", "NOCASE", "RTRIM")
# SQL taken apart far enough to tell words from what stands in quotes and comments.
TOKENS = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\w+|[^\w\s]", re.DOTALL
)


def parts_and_condition(sql: str) -> tuple[list[str], str]:
    """The parts of a CREATE INDEX statement as they are written, and what follows its WHERE, '' without one."""
    parts: list[str] = []
    depth, begin = 0, 0
    end_of_part = 0  # behind the last word that belongs to a part: its order does not
    for token in TOKENS.finditer(sql):
        word = token.group()
        if depth == 1 and word in (",", ")") and begin:
            parts.append(sql[begin:end_of_part].strip())
            begin = token.end() if word == "," else 0
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth == 1 and word == "(" and not parts:
            begin = token.end()
        elif depth == 0 and word.upper() == "WHERE":
            return parts, sql[token.end() :].strip()
        if not (depth == 1 and word.upper() in ("ASC", "DESC")) and not word.startswith(("--", "/*")):
            end_of_part = token.end()
    return parts, ""


def sqlite_uniques(connection: sqlite3.Connection, table: str) -> tuple[Unique, ...]:
    """A table's unique keys other than the primary key.

    Raises:
        SchemaDrift: a unique index has a function or a collation of the application's own. Only the
            application's own connections can write such a table. Or a key's look-up finds more rows than one.
    """
    listed = connection.execute(f"PRAGMA index_list({quote(table)})").fetchall()
    columns = [
        (row[1], row[6]) for row in connection.execute(f"PRAGMA table_xinfo({quote(table)})") if row[6] != 1
    ]
    ordinary = {name for name, hidden in columns if not hidden}
    found = set()
    for _, name, unique, origin, partial in listed:
        if not unique:
            continue
        details = connection.execute(f"PRAGMA index_xinfo({quote(name)})").fetchall()
        shown = [(column, collation.upper()) for _, _, column, _, collation, is_key in details if is_key]
        known = ("BINARY",) if origin == "pk" else BUILT_IN_COLLATIONS
        if any(collation not in known for _, collation in shown):
            raise SchemaDrift(
                f"unique index {name} on {table} has a collation of its own",
                hint="make it a unique index that collates BINARY, NOCASE or RTRIM",
            )
        if origin == "pk":
            # The index may collate BINARY all the same: a look-up compares as the column does.
            if folding := [column for column, _ in shown if folds(connection, table, column)]:
                raise SchemaDrift(
                    f"key column {folding[0]} of {table} overlooks case or blanks, although its primary key does not",
                    hint=f"make {table} anew on SQLite, with {folding[0]} collating BINARY",
                )
            continue
        watched = tuple(column for column, _ in shown)
        if not partial and ordinary.issuperset(watched):
            found.add(Unique(tuple(shown), watched=watched))
            continue
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        if problem := not_computable(connection, table, sql or ""):
            raise SchemaDrift(
                f"unique index {name} on {table} cannot be worked out: {problem}",
                hint=f"DROP INDEX {quote(name)} (on SQLite) for the time of the move: only the application knows the function",
            )
        texts, condition = parts_and_condition(sql or "")
        parts = tuple(
            (texts[n], "") if column is None else (column, collation)
            for n, (column, collation) in enumerate(shown)
        )
        row = tuple(column for column, _ in columns) if None in watched else ()
        found.add(Unique(parts, condition, row))
    if number := _row_number(connection, table):
        found.add(Unique(((number, "BINARY"),)))
    return tuple(sorted(found))


def _row_number(connection: sqlite3.Connection, table: str) -> str:
    """A name under which to write a row's number, where that is not the key. '' if there is none.

    REPLACE removes the row that has a number already, as it does with any other unique key.
    """
    columns = connection.execute(f"PRAGMA table_xinfo({quote(table)})").fetchall()
    names = {row[1].lower() for row in columns}
    free = [name for name in ("rowid", "_rowid_", "oid") if name not in names]
    listed = connection.execute(f"PRAGMA index_list({quote(table)})").fetchall()
    # An INTEGER PRIMARY KEY is the number itself. Every other key of a table that has numbers has an index.
    is_key = any(row[5] for row in columns) and not any(row[3] == "pk" for row in listed)
    if is_key or not free:
        return ""
    try:
        connection.execute(f"EXPLAIN SELECT {free[0]} FROM {quote(table)}").fetchone()
    except sqlite3.OperationalError:  # WITHOUT ROWID
        return ""
    return free[0]


def not_computable(connection: sqlite3.Connection, table: str, sql: str) -> str:
    """Why a connection of ours cannot work out an index that this statement made, '' if it can.

    Nothing is read.
    """
    parts, condition = parts_and_condition(sql)
    for expression in filter(None, [*parts, condition]):
        try:
            connection.execute(f"EXPLAIN SELECT {bracketed(expression)} FROM {quote(table)}").fetchone()
        except sqlite3.OperationalError as error:
            return str(error)
    return ""


def bracketed(expression: str) -> str:
    """An expression in brackets that a comment at its end does not swallow."""
    return f"({expression}\n)" if "--" in expression else f"({expression})"
