"""What INSERT stores: values beside the columns that take them."""

from __future__ import annotations

from collections.abc import Iterator

from migration.lint.columns import Column, Columns
from migration.lint.sql.tokens import (
    Hit,
    Parts,
    Token,
    arguments,
    at,
    closing,
    end_of_list,
    split,
)
from migration.lint.sql.values import against_text, as_boolean, has_fraction


def check(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """Values in the places of columns of INSERT ... VALUES and INSERT ... SELECT."""
    for n, token in enumerate(parts):
        if token.low != "into" or not at(parts, n + 1).is_name or at(parts, n + 2).text != "(":
            continue
        names = [item[-1].name for item in arguments(parts, n + 2) if item]
        for row in _rows(parts, closing(parts, n + 2) + 1):
            for name, item in zip(names, row, strict=False):
                if len(item) == 1:
                    yield from _stored(name, columns.get(name, Column()), item[0])


def _stored(name: str, column: Column, value: Token) -> Iterator[Hit]:
    about = f"{name}: {value.text}"
    if column.kind == "bool" and value.text in ("0", "1"):
        yield as_boolean(value, about)
    elif value.low == "null" and column.unique and name == "id":
        yield Hit("null-key", value.offset, about)
    elif column.kind == "int" and value.kind == "number" and has_fraction(value):
        yield Hit("inexact-integer", value.offset, about)
    elif value.kind == "text":
        yield from against_text((), 0, column.kind if column.kind != "time" else "", value, about)


def _rows(parts: Parts, n: int) -> Iterator[list[list[Token]]]:
    """The rows that VALUES lists, or the one that SELECT describes, from token n on."""
    if at(parts, n).low == "select":
        yield split(parts[n + 1 : end_of_list(parts, n + 1)])
    elif at(parts, n).low == "values":
        n += 1
        while at(parts, n).text == "(":
            yield arguments(parts, n)
            n = closing(parts, n) + 2
