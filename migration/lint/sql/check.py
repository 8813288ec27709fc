"""Hazards in SQL texts, found on tokens: what is in a literal or a comment is left alone."""

from __future__ import annotations

from collections.abc import Iterator

from migration.lint.columns import Names
from migration.lint.sql import calls, inserted, queries, syntax, values
from migration.lint.sql.tokens import Hit, tokens


def check(sql: str, names: Names) -> Iterator[Hit]:
    """Every hazard in an SQL text; one place is named once per rule.

    Args:
        names: the columns that the files declare; those of the tables that the text names count.
    """
    parts = tokens(sql)
    columns = names.among(token.name for token in parts if token.is_name)
    seen: set[tuple[str, int]] = set()
    for kind in (syntax, calls, values, inserted, queries):
        for hit in kind.check(parts, columns):
            if (hit.rule, hit.offset) not in seen:
                seen.add((hit.rule, hit.offset))
                yield hit
