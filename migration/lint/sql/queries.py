"""Clauses of one query that PostgreSQL reads more strictly, or sorts in another way."""

from __future__ import annotations

from collections.abc import Iterator

from migration.lint.columns import Columns
from migration.lint.sql.tokens import (
    Hit,
    Parts,
    Select,
    aggregates,
    at,
    outside,
    selects,
    shape,
    shown,
    split,
    without_alias,
    without_direction,
)


def check(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """Every hazard of this kind."""
    for select in selects(parts):
        yield from _grouping(select)
        yield from _aliases(select, columns)
        yield from _distinct(select)
        yield from _rows_of_subquery(parts, select)
    yield from _upsert(parts)


def _grouping(select: Select) -> Iterator[Hit]:
    """Selected columns that are neither grouped nor aggregated."""
    items = select.items()
    grouped = [shape(item) for item in select.grouped_by()]
    if not grouped and not any(aggregates(item) for item in items):
        return
    by_key = {item.rpartition(".")[0] for item in grouped if item.rpartition(".")[2] == "id"}
    for n, item in enumerate(items, start=1):
        expression, alias = without_alias(item)
        form = shape(expression)
        if not expression or {form, alias, str(n)} & set(grouped) or form.rpartition(".")[0] in by_key:
            continue
        if aggregates(expression) or any(token.low in ("select", "over") for token in expression):
            continue
        if any(_reads_column(expression, n) for n in range(len(expression))):
            yield Hit("group-by", expression[0].offset, shown(expression))


def _reads_column(expression: Parts, n: int) -> bool:
    token = expression[n]
    if token.text == "*":
        return n == len(expression) - 1
    return token.is_name and token.low not in _WORDS and at(expression, n + 1).text != "("


def _aliases(select: Select, columns: Columns) -> Iterator[Hit]:
    """An alias in WHERE or HAVING, or as part of an expression in ORDER BY."""
    aliases = {alias for item in select.items() if (alias := without_alias(item)[1])} - columns.keys()
    for clause in ("where", "having"):
        tokens = select.clauses.get(clause, [])
        for n, token in enumerate(tokens):
            if token.is_name and token.name in aliases and _is_whole_name(tokens, n):
                yield Hit("alias-scope", token.offset, f"{token.text} in {clause.upper()}")
    for item in select.sorted_by():
        bare = without_direction(item)
        if len(bare) > 1:
            for n, token in enumerate(bare):
                if token.is_name and token.name in aliases and _is_whole_name(bare, n):
                    yield Hit("alias-scope", token.offset, f"{token.text} in an expression of ORDER BY")


def _is_whole_name(tokens: Parts, n: int) -> bool:
    return at(tokens, n - 1).text != "." and at(tokens, n + 1).text not in (".", "(")


def _distinct(select: Select) -> Iterator[Hit]:
    if not select.distinct:
        return
    chosen = {
        form for item in select.items() for form in (shape(without_alias(item)[0]), without_alias(item)[1])
    }
    chosen |= {str(n) for n in range(1, len(select.items()) + 1)}
    last = {form.rpartition(".")[2] for form in chosen if form.replace(".", "").isidentifier()}
    for item in select.sorted_by():
        form = shape(without_direction(item))
        if form and form not in chosen | last and "*" not in last | chosen:
            yield Hit("distinct-order", item[0].offset, shown(item))


def _rows_of_subquery(parts: Parts, select: Select) -> Iterator[Hit]:
    """A subquery as one value that may give several rows: SQLite takes the first, PostgreSQL refuses."""
    before = at(parts, select.start - 2)
    if at(parts, select.start - 1).text != "(" or before.text not in ("=", "<", ">", "<>", "!=", ","):
        return
    if before.text == "," and not _in_list(parts, select.start - 2):
        return
    if {"where", "limit", "group"} & select.clauses.keys() or "from" not in select.clauses:
        return
    if not all(aggregates(item) for item in select.items()):
        yield Hit(
            "subquery-rows", parts[select.start].offset, "a subquery without WHERE and LIMIT as a value"
        )


def _in_list(parts: Parts, n: int) -> bool:
    """Whether a comma separates selected values and not tables."""
    depth = 0
    for token in reversed(parts[:n]):
        depth += {")": 1, "(": -1}.get(token.text, 0)
        if depth == 0 and token.low in ("from", "join"):
            return False
        if depth == 0 and token.low == "select":
            return True
    return False


def _upsert(parts: Parts) -> Iterator[Hit]:
    """DO UPDATE SET a = a + 1: PostgreSQL asks whether the old row's or the new row's `a` is meant."""
    for n, token in enumerate(parts):
        if token.low != "update" or at(parts, n - 1).low != "do" or at(parts, n + 1).low != "set":
            continue
        end = next((m for m in range(n, len(parts)) if parts[m].low in ("where", "returning")), len(parts))
        for item in split(parts[n + 2 : end]):
            equals = next((m for m, part in outside(item) if part.text == "="), len(item))
            for m, part in enumerate(item[equals + 1 :], start=equals + 1):
                free = at(item, m - 1).text != "." and at(item, m + 1).text not in (".", "(")
                if part.is_name and free and part.low not in _WORDS and part.kind != "parameter":
                    yield Hit("upsert", part.offset, f"{part.text} of which row")


_WORDS = frozenset(
    (
        *(
            "null",
            "true",
            "false",
            "default",
            "case",
            "when",
            "then",
            "else",
            "end",
            "and",
            "or",
            "not",
            "is",
        ),
        *("as", "text", "integer", "double", "precision", "current_timestamp", "select", "from", "in"),
    )
)
