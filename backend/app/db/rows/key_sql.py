"""A row's key in SQL: how each side names, logs, matches and orders its columns.

Names are quoted for execution without parameters, unless a function says that it is for a statement with
parameters. There a percent sign in a name is doubled on PostgreSQL.

Both sides put keys in the same order, that of bytes: numbers by size, texts by code point. SQLite's keys
have no collation of their own (preflight and the catalog refuse one), so only PostgreSQL has to be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.db.rows.catalog import Column, Table, quote, quote_with_parameters
from app.db.rows.keys import is_exact_in_json, part_on_postgres
from app.db.rows.kinds import IN_JSON, KEY_TYPES, SPELLINGS, Kind
from app.db.rows.kinds import printed as value_printed
from app.db.rows.spelling import looked_for_count

Values = Sequence[Any]  # one value per key column
PART = "st_key_part"  # the function of our own connections to SQLite that takes a logged key apart


def names(table: Table) -> str:
    """The key's columns in a list."""
    return ", ".join(map(quote, table.key_names))


def names_with_parameters(table: Table) -> str:
    """The same, for a PostgreSQL statement with parameters."""
    return ", ".join(map(quote_with_parameters, table.key_names))


def printed(table: Table) -> str:
    """SQLite's expression of a key in one text for the operator."""
    texts = [f"CAST({quote(name)} AS TEXT)" for name in table.key_names]
    return " || ', ' || ".join(f"coalesce({text}, 'NULL')" for text in texts) or "CAST(rowid AS TEXT)"


# How a key is logged, and a logged key taken apart.


def logging_on_sqlite(table: Table, row: str = "") -> str:
    """The expression that SQLite logs as the key; `row` is a prefix such as `NEW.`.

    It depends on the values alone, so that it needs to know no kind. JSON would refuse bytes, and with them the
    application's write; of a real it would keep 15 digits.
    """
    fields = [f"{row}{quote(name)}" for name in table.key_names]
    parts = " || ',' || ".join(map(_json_on_sqlite, fields))
    return fields[0] if len(fields) == 1 else f"'[' || {parts} || ']'"


HUGE_IN_JSON = '{"huge":'


def _json_on_sqlite(field: str) -> str:
    return (
        f"CASE typeof({field}) WHEN 'blob' THEN '{{\"blob\":\"' || hex({field}) || '\"}}' "
        f"WHEN 'real' THEN {_real(field, HUGE_IN_JSON, '}', '9e999')} ELSE json_quote({field}) END"
    )


def announcing_on_sqlite(table: Table) -> str:
    """The text of `keys.announced`, of rows on SQLite."""
    if len(table.key) > 1:
        return logging_on_sqlite(table)
    return announced_on_sqlite(quote(table.key_names[0]))


def announced_on_sqlite(field: str) -> str:
    """The text of `keys.announced`, of what SQLite logged in a field."""
    return (
        f"CASE typeof({field}) WHEN 'blob' THEN '\\x' || lower(hex({field})) "
        f"WHEN 'real' THEN {_real(field, '', 'p700', 'inf')} ELSE CAST({field} AS TEXT) END"
    )


def _real(field: str, before: str, after: str, infinity: str) -> str:
    """A real with all its digits. SQLite prints a huge one wrong in the last, so it is divided by 2 ** 700, exactly."""
    divided = field + " / 1125899906842624.0" * 14  # 2 ** 50 each
    return (
        f"CASE WHEN abs({field}) >= 1e60 AND abs({field}) < 9e999 THEN '{before}' || printf('%!.17g', {divided}) || '{after}' "
        f"ELSE replace(printf('%!.17g', {field}), 'Inf', '{infinity}') END"
    )


def logging_on_postgres(table: Table) -> str:
    """The expression that PostgreSQL logs as the key."""
    if len(table.key) == 1:
        return value_printed(table.key[0].kind, names(table))
    return f"jsonb_build_array({', '.join(map(_json_on_postgres, table.key))})::text"


def _json_on_postgres(column: Column) -> str:
    # JSON would get a `char(n)` with the blanks that fill it up, which its text does not have.
    as_it_is = IN_JSON[column.kind] and column.cast != "bpchar"
    return quote(column.name) if as_it_is else value_printed(column.kind, quote(column.name))


def needs_settings(table: Table) -> bool:
    """Whether the text of a key on PostgreSQL depends on the settings of the session that writes."""
    return not all(IN_JSON[column.kind] or column.kind is Kind.BOOLEAN for column in table.key)


def logged_on_sqlite(table: Table) -> str:
    """The columns of a key that SQLite logged, out of the log's column; `PART` is `keys.part_of`."""
    if len(table.key) == 1:
        return "k"
    if is_exact_in_json(table):
        return ", ".join(f"json_extract(k, '$[{n}]')" for n in range(len(table.key)))
    return ", ".join(f"{PART}(k, {n})" for n in range(len(table.key)))


def logged_on_postgres(table: Table) -> str:
    """The typed columns of a key that PostgreSQL logged, out of the log's column."""
    if len(table.key) == 1:
        return f"k::{table.key[0].cast_with_parameters}"
    return ", ".join(
        f"(k::jsonb ->> {n})::{column.cast_with_parameters}" for n, column in enumerate(table.key)
    )


def moved(table: Table) -> str:
    """Whether an update on SQLite changes the key, within a trigger."""
    return " OR ".join(f"NEW.{quote(name)} IS NOT OLD.{quote(name)}" for name in table.key_names)


def is_old_row(table: Table) -> str:
    """Whether a row on SQLite has the key of the trigger's old row."""
    return " AND ".join(f"{quote(name)} IS OLD.{quote(name)}" for name in table.key_names)


# How rows are found by their keys.


def match_on_sqlite(table: Table) -> str:
    """One key; its parameters come from `keys.matching_on_sqlite`."""
    return " AND ".join(f"{quote(c.name)} {_marks(c.kind)}" for c in table.key)


def _marks(kind: Kind) -> str:
    return f"IN ({', '.join('?' * looked_for_count(kind))})" if SPELLINGS[kind] else "= ?"


def same_uuids(table: Table, count: int) -> str:
    """So many keys on SQLite whatever their spelling, by a look at every row; canonical texts as parameters."""
    fields = [
        f"CASE typeof({quote(c.name)}) WHEN 'blob' THEN lower(hex({quote(c.name)})) "
        f"ELSE lower(replace(replace(replace({quote(c.name)}, '-', ''), '{{', ''), '}}', '')) END"
        if SPELLINGS[c.kind]
        else quote(c.name)
        for c in table.key
    ]
    marks = ["replace(?, '-', '')" if SPELLINGS[c.kind] else "?" for c in table.key]
    one = f"({', '.join(marks)})"
    return f"{_row(fields)} IN (VALUES {', '.join([one] * count)})"


def match_on_postgres(table: Table) -> str:
    """One key, a canonical text as parameter for each column."""
    return " AND ".join(f"{quote_with_parameters(c.name)} = %s::{c.cast_with_parameters}" for c in table.key)


def in_list(table: Table) -> str:
    """The left side of `... IN (SELECT keys)` on SQLite."""
    return _row([quote(name) for name in table.key_names])


# How keys are ordered, and cut into ranges.


def order_on_sqlite(table: Table) -> str:
    """What follows ORDER BY on SQLite."""
    return names(table)


def order_on_postgres(table: Table) -> str:
    """What follows ORDER BY on PostgreSQL, for a statement with parameters."""
    return ", ".join(map(_ordered, table.key))


def range_on_sqlite(
    table: Table, after: Values | None, upto: Values | None, *, nulls_first: bool = False
) -> tuple[str, list[Any]]:
    """WHERE clause and parameters of the range (after, upto] on SQLite.

    Args:
        after, upto: key values as SQLite stores them. None is open.
        nulls_first: count keys with a NULL to the range that is open below, and to no other. SQLite lets NULL into keys,
            and no comparison holds for it.
    """
    fields = [quote(name) for name in table.key_names]
    where, parameters = _range(fields, ["?"] * len(fields), after, upto)
    if where and nulls_first and after is None:
        where = f"({where} OR {' OR '.join(f'{field} IS NULL' for field in fields)})"
    elif nulls_first and after is not None and len(fields) > 1:
        where += "".join(f" AND {field} IS NOT NULL" for field in fields)
    return (f"WHERE {where}" if where else ""), parameters


def range_on_postgres(table: Table, after: Values | None, upto: Values | None) -> tuple[str, list[Any]]:
    """WHERE clause and parameters of the range (after, upto] on PostgreSQL.

    Args:
        after, upto: key values in canonical form, or as SQLite stores them. None is open.
    """
    marks = [f"%s::{KEY_TYPES[column.kind]}" for column in table.key]
    ends = [None if end is None else list(map(part_on_postgres, table.key, end)) for end in (after, upto)]
    where, parameters = _range([_ordered(column) for column in table.key], marks, *ends)
    return (f"WHERE {where}" if where else ""), parameters


def _ordered(column: Column) -> str:
    """A key column in the order of bytes; an enum is ordered as its text."""
    name = quote_with_parameters(column.name)
    return f'{name}::text COLLATE "C"' if column.kind is Kind.TEXT else name


def _range(
    fields: list[str], marks: list[str], after: Values | None, upto: Values | None
) -> tuple[str, list[Any]]:
    bounds = [(sign, bound) for sign, bound in ((">", after), ("<=", upto)) if bound is not None]
    where = " AND ".join(f"{_row(fields)} {sign} {_row(marks)}" for sign, _ in bounds)
    return where, [value for _, bound in bounds for value in bound]


def _row(items: list[str]) -> str:
    return f"({', '.join(items)})" if len(items) > 1 else items[0]
