"""Rows that are wrong together: equal under a unique key, without their parent, against a CHECK."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from app.db.common.errors import UnsupportedValue
from app.db.rows import key_sql
from app.db.rows.canonical import encode
from app.db.rows.catalog import NARROW, TOKENS, Column, Table, quote
from app.db.rows.kinds import SPELLINGS, Kind
from app.db.rows.policy import ORPHANS_TO_NULL, Policy, convert
from app.db.sides.sqlite.connection import tolerant_text
from migration.preflight.findings.orphans import clearing_statement
from migration.preflight.findings.report import SHOWN_KEYS, Finding, Severity
from migration.preflight.findings.shapes import Index, Shape


def first_keys(sqlite: sqlite3.Connection, table: Table, where: str) -> tuple[str, ...]:
    """The first keys of the rows that a condition selects."""
    rows = sqlite.execute(
        f"SELECT CAST({key_sql.printed(table)} AS BLOB) FROM {quote(table.name)} WHERE {where} LIMIT {SHOWN_KEYS}"
    )
    return tuple(raw.decode("utf-8", "replace") for (raw,) in rows)


def duplicates(
    sqlite: sqlite3.Connection, shape: Shape, forms: dict[str, set[int]], policy: Policy
) -> Iterator[Finding]:
    """Rows that a unique key of PostgreSQL would call equal and SQLite's does not."""
    columns = {column.name: column for column in shape.table.columns}
    for index in shape.indexes:
        if not index.unique or index.expression or not set(index.columns) <= columns.keys():
            continue
        loose = [name for name in index.columns if _is_loose(shape.table, columns[name], forms, policy)]
        if loose:
            yield from _duplicates(sqlite, shape.table, index, columns, loose, policy)


def _is_loose(table: Table, column: Column, forms: dict[str, set[int]], policy: Policy) -> bool:
    if policy.conversions(table, column):
        return True
    if column.kind in (Kind.TIMESTAMP, Kind.TIME):
        return len(forms.get(column.name, ())) > 1
    return SPELLINGS[column.kind]


def _duplicates(
    sqlite: sqlite3.Connection,
    table: Table,
    index: Index,
    columns: dict[str, Column],
    loose: Sequence[str],
    policy: Policy,
) -> Iterator[Finding]:
    ordered = [columns[name] for name in index.columns]

    def canonical(place: int, value: object, text: int) -> str | None:
        column = ordered[place]
        stored = tolerant_text(value) if text and isinstance(value, bytes) else value
        try:
            return encode(column.kind, stored)
        except UnsupportedValue:
            pass
        try:
            return encode(column.kind, convert(policy.conversions(table, column), stored))
        except UnsupportedValue:
            return None  # goes to quarantine, where it collides with nothing

    sqlite.create_function("st_canonical", 3, canonical, deterministic=True)
    fields = [
        f"CASE typeof({quote(c.name)}) WHEN 'text' THEN st_canonical({n}, CAST({quote(c.name)} AS BLOB), 1) "
        f"ELSE st_canonical({n}, {quote(c.name)}, 0) END AS c{n}"
        if c.name in loose
        else f"{quote(c.name)} AS c{n}"
        for n, c in enumerate(ordered)
    ]
    names = ", ".join(f"c{n}" for n in range(len(ordered)))
    present = " AND ".join(f"c{n} IS NOT NULL" for n in range(len(ordered)))
    where = f" WHERE {index.predicate}" if index.predicate else ""
    groups = sqlite.execute(
        f"SELECT count(*), CAST(group_concat(k, ' = ') AS BLOB) FROM (SELECT {', '.join(fields)}, "
        f"{key_sql.printed(table)} AS k FROM {quote(table.name)}{where}) WHERE {present} "
        f"GROUP BY {names} HAVING count(*) > 1"
    )
    rows = 0
    keys: list[str] = []
    for count, raw in groups:
        rows += count
        if len(keys) < SHOWN_KEYS:
            keys.append(raw.decode("utf-8", "replace"))
    if rows:
        yield Finding(
            "row.duplicate",
            Severity.BLOCKS,
            f"rows that are equal in canonical form, so that the unique key cannot be built ({index.name})",
            "change or delete all but one row of each group on SQLite",
            table=table.name,
            column=", ".join(index.columns),
            count=rows,
            keys=tuple(keys),
        )


def orphans(sqlite: sqlite3.Connection, shape: Shape, policy: Policy) -> Iterator[Finding]:
    """Rows whose parent is gone, per foreign key."""
    table = shape.table
    listed = sqlite.execute(f"PRAGMA foreign_key_list({quote(table.name)})").fetchall()
    keys: dict[int, list[str]] = {}
    for number, _, _, column, *_ in sorted(listed, key=lambda row: (row[0], row[1])):
        keys.setdefault(number, []).append(column)
    parents = {row[0]: row[2] for row in listed}
    rules = {row[0]: row[6] for row in listed}
    counts: dict[int, int] = {}
    rowids: dict[int, list[int]] = {}
    try:
        for _, rowid, _, number in sqlite.execute(f"PRAGMA foreign_key_check({quote(table.name)})"):
            counts[number] = counts.get(number, 0) + 1
            if counts[number] <= SHOWN_KEYS and rowid is not None:
                rowids.setdefault(number, []).append(rowid)
    except sqlite3.OperationalError:  # a key that refers to nothing unique, which is a finding of the schema
        return
    for number, count in sorted(counts.items()):
        columns = ", ".join(keys[number])
        clear = clearing_statement(sqlite, table.name, keys[number][0]) if len(keys[number]) == 1 else None
        yield Finding(
            "row.orphan",
            Severity.INFO,
            f"rows whose parent in {parents[number]} is gone (ON DELETE {rules[number]})",
            "nothing: the rows stay as they are and the key will be NOT VALID, so that new writes are checked"
            + (f"; to clear them: {clear}" if clear else ""),
            table=table.name,
            column=columns,
            count=count,
            keys=_keys_of(sqlite, table, rowids.get(number, [])),
            policies=(ORPHANS_TO_NULL,) if clear else (),
            chosen=policy.chosen(table.name, columns),
        )


def _keys_of(sqlite: sqlite3.Connection, table: Table, rowids: list[int]) -> tuple[str, ...]:
    if not rowids:
        return ()
    return first_keys(sqlite, table, f"rowid IN ({', '.join(map(str, rowids))})")


def check_expressions(create_table: str) -> list[str]:
    """The conditions of every CHECK in a CREATE TABLE statement."""
    tokens = list(TOKENS.finditer(create_table))
    found = []
    for n, token in enumerate(tokens[:-1]):
        if token.group().upper() != "CHECK" or tokens[n + 1].group() != "(":
            continue
        depth = 0
        for closing in tokens[n + 1 :]:
            depth += {"(": 1, ")": -1}.get(closing.group(), 0)
            if depth == 0:
                found.append(create_table[tokens[n + 1].end() : closing.start()].strip())
                break
    return found


def check_violations(sqlite: sqlite3.Connection, shape: Shape) -> Iterator[Finding]:
    """Rows against the table's own CHECKs, which a connection may have been told to ignore."""
    table = shape.table
    (sql,) = sqlite.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table.name,)
    ).fetchone()
    for condition in check_expressions(sql):
        try:
            (count,) = sqlite.execute(
                f"SELECT count(*) FROM {quote(table.name)} WHERE NOT ({condition})"
            ).fetchone()
        except sqlite3.OperationalError as error:
            yield Finding(
                "schema.check",
                Severity.WARNS,
                f"CHECK ({condition}) cannot be evaluated: {error}",
                "look at it by hand",
                table=table.name,
            )
            continue
        if count:
            yield Finding(
                "row.check",
                Severity.BLOCKS,
                f"rows against CHECK ({condition})",
                "change the rows on SQLite; otherwise they go to quarantine",
                table=table.name,
                count=count,
                keys=first_keys(sqlite, table, f"NOT ({condition})"),
            )


def last_ids(sqlite: sqlite3.Connection, shape: Shape) -> Iterator[Finding]:
    """Ids at the end of their column's range: no number is left that a sequence could give out."""
    table = shape.table
    if not table.integer_key:
        return
    (column,) = table.key
    last = NARROW[column.cast].stop - 1 if column.cast in NARROW else 2**63 - 1
    where = f"typeof({quote(column.name)}) = 'integer' AND {quote(column.name)} >= {last}"
    (count,) = sqlite.execute(f"SELECT count(*) FROM {quote(table.name)} WHERE {where}").fetchone()
    if count:
        yield Finding(
            "row.last_id",
            Severity.BLOCKS,
            f"an id at the end of the range, {last}: none is left to give out",
            "give these rows other ids on SQLite",
            table=table.name,
            column=column.name,
            count=count,
            keys=first_keys(sqlite, table, where),
        )


def null_keys(sqlite: sqlite3.Connection, shape: Shape) -> Iterator[Finding]:
    """Rows without a key: SQLite lets NULL into any primary key but an integer one."""
    table = shape.table
    if not table.key:
        return
    where = " OR ".join(f"{quote(name)} IS NULL" for name in table.key_names)
    (count,) = sqlite.execute(f"SELECT count(*) FROM {quote(table.name)} WHERE {where}").fetchone()
    if count:
        yield Finding(
            "row.null_key",
            Severity.BLOCKS,
            "rows with NULL in their key, which nothing can name",
            "give them keys or delete them on SQLite",
            table=table.name,
            column=", ".join(table.key_names),
            count=count,
        )
