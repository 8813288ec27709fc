"""What INSERT stores: values beside the columns that take them."""

from __future__ import annotations

from collections.abc import Iterator

from migration.lint.columns import Column, Columns
from migration.lint.sql.kinds import against_text, as_boolean, has_fraction, kind_of, stored
from migration.lint.sql.tokens import (
    WORDS,
    Hit,
    Parts,
    Token,
    arguments,
    at,
    closing,
    end_of_list,
    outside,
    shown,
    split,
)


def check(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """Values in the places of columns of INSERT ... VALUES and INSERT ... SELECT, and ON CONFLICT."""
    yield from _upsert(parts, columns)
    for n, token in enumerate(parts):
        if token.low != "into" or not at(parts, n + 1).is_name:
            continue
        if at(parts, n + 2).text == "(":
            names = [item[-1].name for item in arguments(parts, n + 2) if item]
            values = closing(parts, n + 2) + 1
        elif at(parts, n + 2).low == "values":
            names, values = list(columns), n + 2  # those of the one table that is named
        else:
            continue
        for row in _rows(parts, values):
            if len(names) < len(row):
                continue
            for name, item in zip(names, row, strict=False):
                yield from _stored(name, columns, item)


def _stored(name: str, columns: Columns, item: Parts) -> Iterator[Hit]:
    column = columns.get(name, Column())
    about = f"{name}: {shown(item)}"
    if len(item) != 1:
        yield from stored(column.kind, kind_of(item, columns), item, about)
        return
    value = item[0]
    if column.kind == "bool" and value.text in ("0", "1"):
        yield as_boolean(value, about)
    elif value.low == "null" and column.unique and name == "id":
        yield Hit("null-key", value.offset, about)
    elif column.kind == "int" and value.kind == "number" and not has_fraction(value):
        return
    elif value.kind == "text":
        yield from against_text(column.kind if column.kind != "time" else "", value, about)
    else:
        yield from stored(column.kind, kind_of(item, columns), item, about)


def _rows(parts: Parts, n: int) -> Iterator[list[list[Token]]]:
    """The rows that VALUES lists, or the one that SELECT describes, from token n on."""
    if at(parts, n).low == "select":
        yield split(parts[n + 1 : end_of_list(parts, n + 1)])
    elif at(parts, n).low == "values":
        n += 1
        while at(parts, n).text == "(":
            yield arguments(parts, n)
            n = closing(parts, n) + 2


def _upsert(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """DO UPDATE SET a = a + 1: PostgreSQL asks whether the old row's or the new row's `a` is meant."""
    for n, token in enumerate(parts):
        if token.low != "update" or at(parts, n - 1).low != "do" or at(parts, n + 1).low != "set":
            continue
        end = next((m for m in range(n, len(parts)) if parts[m].low in ("where", "returning")), len(parts))
        last = next((m for m in range(end, len(parts)) if parts[m].low == "returning"), len(parts))
        for m in range(end + 1, last):
            free = parts[m - 1].text != "." and at(parts, m + 1).text not in (".", "(")
            if parts[m].is_name and free and parts[m].name in columns:
                yield Hit("upsert", parts[m].offset, f"{parts[m].text} of which row")
        for item in split(parts[n + 2 : end]):
            equals = next((m for m, part in outside(item) if part.text == "="), len(item))
            for m, part in enumerate(item[equals + 1 :], start=equals + 1):
                free = at(item, m - 1).text != "." and at(item, m + 1).text not in (".", "(")
                if part.is_name and free and part.low not in WORDS and part.kind != "parameter":
                    yield Hit("upsert", part.offset, f"{part.text} of which row")
