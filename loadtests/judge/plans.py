"""What a database plans for a statement: where it goes through a large table as a whole."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

MANY_ROWS = 1_000  # to sort fewer is to sort what was asked for
_MONTH = re.compile(r"_\d{4}_\d\d")  # in the names of partitions
_CONDITION = re.compile(r"\bWHERE\b")
RARE = 500  # to look for fewer along another order may take the whole table, whatever the LIMIT


@dataclass(frozen=True)
class Sent:
    """A statement as it reached the driver, with its parameters."""

    statement: str
    parameters: Any


def findings(connection: Connection, sent: Sent, large: Collection[str]) -> list[str]:
    """How the plan of a statement goes through a large table as a whole; empty if it does not."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sent.statement}", sent.parameters).all()
        if _ends_early(sent.statement, [row.detail for row in rows]):
            return []
        partial = partial_indexes(connection)
        return [row.detail for row in rows if _scans(row.detail, large, partial)]
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sent.statement}", sent.parameters).scalar_one()
    (root,) = json.loads(plan) if isinstance(plan, str) else plan
    return walks(root["Plan"], large, partial_indexes(connection))


def walks(plan: dict[str, Any], large: Collection[str], partial: frozenset[str]) -> list[str]:
    """How one of PostgreSQL's plans goes through a large table as a whole; empty if it does not."""
    return list(_found(plan, large, partial, limited=False))


def outline(plan: dict[str, Any]) -> str:
    """The steps of one of PostgreSQL's plans in a line, from the top; equal steps beside each other are counted."""
    name = plan.get("Index Name") or plan.get("Relation Name")
    back = " Backward" if plan.get("Scan Direction") == "Backward" else ""
    step = plan["Node Type"] + back + (f" {_MONTH.sub('', name)}" if name else "")
    below = Counter(outline(child) for child in plan.get("Plans", ()))
    if not below:
        return step
    told = [text if count == 1 else f"{count} x {text}" for text, count in below.items()]
    return f"{step} > {told[0]}" if len(told) == 1 else f"{step} > ({'; '.join(told)})"


def tables_of(plan: dict[str, Any]) -> set[str]:
    """The tables that a plan reads or writes."""
    below = (tables_of(child) for child in plan.get("Plans", ()))
    return {name for name in [plan.get("Relation Name")] if name}.union(*below)


def partial_indexes(connection: Connection) -> frozenset[str]:
    """A walk along one of these is no walk over its table."""
    query = "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indpred IS NOT NULL"
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'"
    return frozenset(connection.exec_driver_sql(query).scalars())


def _ends_early(statement: str, steps: Collection[str]) -> bool:
    """Whether SQLite stops after the first rows: a LIMIT without a condition or a sort, or a condition that is false."""
    if "WHERE 0 = 1" in statement:
        return True
    is_bare = "LIMIT" in statement and not _CONDITION.search(statement)
    return is_bare and not any("TEMP B-TREE" in step for step in steps)


def _scans(step: str, large: Collection[str], partial: frozenset[str]) -> bool:
    """Whether a step of SQLite's plan is a walk over a large table, be it along an index of all its rows."""
    verb, *words = step.split(" ")
    return verb == "SCAN" and words[0] in large and partial.isdisjoint(words)


def _found(
    node: dict[str, Any], large: Collection[str], partial: frozenset[str], *, limited: bool
) -> Iterator[str]:
    """`limited`: a LIMIT above ends a walk early, if nothing is sorted in between and matches abound."""
    kind, table = node["Node Type"], node.get("Relation Name")
    below = node.get("Plans", ())
    if kind == "Seq Scan" and table in large:
        yield f"Seq Scan on {table}"
    elif kind == "Sort" and below[0]["Plan Rows"] > MANY_ROWS:
        yield f"Sort of {below[0]['Plan Rows']} rows"
    elif kind.startswith("Index") and table in large and "Index Cond" not in node:
        ends_early = limited and ("Filter" not in node or node["Plan Rows"] > RARE)
        if not ends_early and node["Index Name"] not in partial:
            yield f"{kind} along all of {table}"
    for child in below:
        yield from _found(child, large, partial, limited=kind == "Limit" or (limited and kind != "Sort"))
