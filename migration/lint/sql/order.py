"""The order of rows: where NULL sorts, and which rows a limit cuts off."""

from __future__ import annotations

from collections.abc import Iterator

from migration.lint.columns import Column, Columns
from migration.lint.sql.tokens import (
    Hit,
    Parts,
    Select,
    aggregates,
    at,
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
        yield from _ties(parts, select, columns)
    yield from _nulls(parts, columns)


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
    yield Hit(
        "tie-break", items[0][0].offset, f"ORDER BY {', '.join(map(shown, items))} LIMIT {shown(limit[:1])}"
    )


def _nulls(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """ORDER BY, also in a window, on a column that may be NULL."""
    whole = shape(parts)
    for n, token in enumerate(parts):
        if token.low != "order" or at(parts, n + 1).low != "by":
            continue
        end = _end_of_order(parts, n + 2)
        items = split(parts[n + 2 : end])
        tested = {
            shape(i)[: -len("isnull")] for i in map(without_direction, items) if shape(i).endswith("isnull")
        }
        tested |= {
            shape(i)[: -len("isnotnull")]
            for i in map(without_direction, items)
            if shape(i).endswith("isnotnull")
        }
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


def _end_of_order(parts: Parts, n: int) -> int:
    depth = 0
    for m in range(n, len(parts)):
        if depth == 0 and (
            parts[m].text in (")", ";") or parts[m].low in ("limit", "offset", "rows", "range")
        ):
            return m
        depth += {"(": 1, ")": -1}.get(parts[m].text, 0)
    return len(parts)
