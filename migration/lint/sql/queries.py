"""Clauses of a query that PostgreSQL reads more strictly; where NULL sorts, and which rows a limit cuts off."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from migration.lint.columns import Column, Columns
from migration.lint.sql.kinds import together
from migration.lint.sql.tokens import (
    AGGREGATES,
    WORDS,
    Hit,
    Parts,
    Select,
    Token,
    aggregates,
    at,
    opening,
    outside,
    selects,
    shape,
    shown,
    split,
    without_alias,
    without_direction,
)

_TESTS = ("isnull", "isnotnull")  # as `shape` writes them
_BEFORE_TEXTS = frozenset(
    (
        *("distinct", "interval", "date", "time", "timestamp", "like", "escape", "glob", "between"),
        *("collate", "e", "all"),
    )
)


def check(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """Every hazard of this kind."""
    for select in selects(parts):
        yield from _grouping(select, columns)
        yield from _aliases(select, columns)
        yield from _distinct(select)
        yield from _rows_of_subquery(parts, select, columns)
        yield from _joins(select)
        yield from _constants(select)
        yield from _ties(parts, select, columns)
    yield from _united(parts, columns)
    yield from _nulls(parts, columns)
    yield from _nulls_by_number(parts, columns)


def _grouping(select: Select, columns: Columns) -> Iterator[Hit]:
    """Columns in SELECT, HAVING and ORDER BY that are neither grouped nor aggregated."""
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
    known = set(grouped) | {without_alias(item)[1] for item in items}
    known |= {shape(items[int(g) - 1]) for g in grouped if g.isdecimal() and int(g) <= len(items)}
    for item in [*map(without_direction, select.sorted_by()), select.clauses.get("having", [])]:
        for n, token in enumerate(item):
            free = token.is_name and token.name in columns and at(item, n + 1).text not in ("(", ".")
            whole = shape(item[n - 2 : n + 1]) if at(item, n - 1).text == "." else token.name
            last = {form.rpartition(".")[2] for form in known}
            if free and not {whole, token.name} & (known | last) and not by_key and not _in_call(item, n):
                yield Hit("group-by", token.offset, shown(item))


def _in_call(item: Parts, n: int) -> bool:
    """Whether a token is part of an aggregate's argument, or of a subquery."""
    place = opening(item, n)
    while place >= 0:
        if at(item, place - 1).low in AGGREGATES or at(item, place + 1).low == "select":
            return True
        place = opening(item, place)
    return False


def _joins(select: Select) -> Iterator[Hit]:
    """A JOIN without ON or USING."""
    tables = select.clauses.get("from", [])
    wanted: list[Token] = []
    for n, token in outside(tables):
        if token.low == "join" and not {
            at(tables, n - 1).low,
            at(tables, n - 2).low,
            at(tables, n - 3).low,
        } & {"cross", "natural"}:
            wanted.append(token)
        elif token.low in ("on", "using") and wanted:
            wanted.pop()
        elif token.text == "," and wanted:
            break
    if wanted:
        yield Hit("sqlite-syntax", wanted[0].offset, "JOIN without ON")


def _constants(select: Select) -> Iterator[Hit]:
    """ORDER BY a text, and a name in quotes of a text beside a selected column."""
    for item in map(without_direction, select.sorted_by()):
        if len(item) == 1 and (item[0].kind == "text" or item[0].low == "null"):
            yield Hit("sqlite-syntax", item[0].offset, f"ORDER BY {item[0].text}")
    for item in select.items():
        if len(item) > 1 and item[-1].kind == "text" and (item[-2].kind == "quoted" or _ends_value(item[-2])):
            yield Hit("quoted-name", item[-1].offset, item[-1].text)


def _ends_value(token: Token) -> bool:
    """Whether a value ends here, so that what follows names it."""
    word = token.kind == "word" and token.low not in WORDS | _BEFORE_TEXTS
    return token.text == ")" or token.low == "end" or (word and len(token.text) > 1)


def _united(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """UNION, EXCEPT and INTERSECT of columns that are of different kinds, or without an order."""
    branches = [select for select in selects(parts) if opening(parts, select.start) < 0]
    words = {token.low for _, token in outside(parts)}
    if len(branches) < 2 or not words & {"union", "except", "intersect"}:
        return
    for column in zip(*(select.items() for select in branches), strict=False):
        yield from together(
            [without_alias(item)[0] for item in column], columns, "UNION of a text and a number"
        )
    sets = [n for n, token in outside(parts) if token.low in ("union", "except", "intersect")]
    if at(parts, 0).low == "select" and "order" not in words and at(parts, sets[0] + 1).low != "all":
        yield Hit("union-order", parts[sets[0]].offset, f"{parts[sets[0]].text} without ORDER BY")


def _reads_column(expression: Parts, n: int) -> bool:
    token = expression[n]
    if token.text == "*":
        return n == len(expression) - 1
    return token.is_name and token.low not in WORDS and at(expression, n + 1).text != "("


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


def _rows_of_subquery(parts: Parts, select: Select, columns: Columns) -> Iterator[Hit]:
    """A subquery as one value that may give several rows: SQLite takes the first, PostgreSQL refuses."""
    before = at(parts, select.start - 2)
    if at(parts, select.start - 1).text != "(" or before.low not in (
        "=",
        "<",
        ">",
        "<>",
        "!=",
        ",",
        "select",
    ):
        return
    if before.text == "," and not _in_list(parts, select.start - 2):
        return
    if {"limit", "group"} & select.clauses.keys() or "from" not in select.clauses:
        return
    where = select.clauses.get("where", [])
    keys = {name for name, column in columns.items() if column.unique} | {"id"}
    if where and (
        not columns or (any(t.text == "=" for t in where) and not _only_constants(where, columns, keys))
    ):
        return
    if not all(aggregates(item) for item in select.items()):
        yield Hit("subquery-rows", parts[select.start].offset, "a subquery that names no key as a value")


def _only_constants(where: Parts, columns: Columns, keys: Collection[str]) -> bool:
    """Whether no key and no other table's column is compared."""
    names = {token.name for token in where if token.is_name and token.low not in WORDS}
    return (
        not names & {*keys}
        and not any(t.text == "." or t.kind == "parameter" for t in where)
        and names <= columns.keys()
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


def _ties(parts: Parts, select: Select, columns: Columns) -> Iterator[Hit]:
    """LIMIT whose rows PostgreSQL may choose in another way."""
    limit = select.clauses.get("limit")
    where = shape(select.clauses.get("where", ()))
    if not limit or limit[0].text == "0" or "from" not in select.clauses:
        return
    aggregated = not select.grouped_by() and any(aggregates(item) for item in select.items())
    if (
        aggregated
        or at(parts, select.start - 2).low == "exists"
        or (limit[0].text == "1" and shape(select.clauses["select"]) == "1")
    ):
        return
    items = [without_direction(item) for item in select.sorted_by()]
    if not items:
        yield Hit("tie-break", parts[select.start].offset, "LIMIT without ORDER BY")
        return
    names = {item[-1].name for item in items if item}
    unique = {name for name, column in columns.items() if column.unique} | {"id"}
    grouped = {shape(item).rpartition(".")[2] for item in select.grouped_by()}
    if names & unique or (grouped and grouped <= names):
        return
    if select.distinct and {shape(without_alias(i)[0]) for i in select.items()} <= {shape(i) for i in items}:
        return
    if any(f"{name}=" in where for name in unique) or any(item[0].low == "random" for item in items if item):
        return
    first = next((token for item in items for token in item), limit[0])
    yield Hit("tie-break", first.offset, f"ORDER BY {', '.join(map(shown, items))} LIMIT {shown(limit[:1])}")


def _nulls(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """ORDER BY, also in a window, on a column that may be NULL."""
    whole = shape(parts)
    for n, token in enumerate(parts):
        if token.low != "order" or at(parts, n + 1).low != "by":
            continue
        items = split(parts[n + 2 : _end_of_order(parts, n + 2)])
        shapes = [shape(without_direction(item)) for item in items]
        tested = {form.removesuffix(end) for form in shapes for end in _TESTS if form.endswith(end)}
        for item in items:
            bare = without_direction(item)
            if any(t.low == "nulls" for t in item) or {"coalesce", "case", "count"} & {t.low for t in bare}:
                continue
            for m, part in enumerate(bare):
                column = columns.get(part.name, Column()) if part.is_name else Column()
                if not column.nullable or at(bare, m + 1).low in ("(", ".", "is"):
                    continue
                if shape(bare) not in tested and f"{part.name}isnotnull" not in whole:
                    yield Hit("nulls-order", part.offset, f"ORDER BY {shown(item)}")
                    break


def _nulls_by_number(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """ORDER BY 1, where the first column of a query, or of one that is united with it, may be NULL."""
    found = selects(parts)
    for select in found:
        for item in select.sorted_by():
            bare = without_direction(item)
            if len(bare) != 1 or not bare[0].text.isdecimal() or any(t.low == "nulls" for t in item):
                continue
            level = opening(parts, select.start)
            for other in (s for s in found if opening(parts, s.start) == level):
                selected = dict(enumerate(other.items(), start=1)).get(int(bare[0].text), [])
                chosen, _ = without_alias(selected)
                if len(chosen) == 1 and columns.get(chosen[0].name, Column()).nullable:
                    yield Hit("nulls-order", bare[0].offset, f"ORDER BY {shown(item)}")


def _end_of_order(parts: Parts, n: int) -> int:
    depth = 0
    for m in range(n, len(parts)):
        if depth == 0 and (
            parts[m].text in (")", ";") or parts[m].low in ("limit", "offset", "rows", "range")
        ):
            return m
        depth += {"(": 1, ")": -1}.get(parts[m].text, 0)
    return len(parts)
