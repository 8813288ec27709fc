"""The rules that preflight and `prepare` share: what keeps a move from starting, told without reading all rows.

Preflight lists these findings with those of the rows. `prepare` asks the same functions before it changes
anything, and refuses by the same codes. What only a row can show (`value.*`, `row.*`) does not keep `prepare`
from starting. Such rows are set aside while they are copied, and the cutover refuses while they are. Rows
that are equal under a unique key (`row.duplicate`) are refused when the key is built, at the copy's end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from app.db.common.errors import Refused
from app.db.common.settings import load_settings
from app.db.common.urls import Side
from app.db.revisions.source import SchemaSource
from app.db.rows.catalog import Unfit, postgres_columns, quote, sqlite_left_out, unfit_tables, virtual_tables
from app.db.rows.policy import Policy
from app.db.sides.capture.foreign import foreign_on_postgres, foreign_on_sqlite
from app.db.sides.control import is_prepared_postgres, is_prepared_sqlite
from app.db.sides.locks import QUIET
from migration.preflight import schema, server
from migration.preflight.file import file_findings
from migration.preflight.findings import left_out
from migration.preflight.findings.compared import installed_findings
from migration.preflight.findings.report import Finding, Severity
from migration.preflight.findings.seeded import filled, seeded
from migration.preflight.findings.shapes import Shape, made_by, models, read_shapes
from migration.preflight.findings.trial import Tried
from migration.preflight.rows import last_ids, null_keys

# Taken by the codes' beginnings: what `prepare` leaves to quarantine and to the end of the copy.
LATER = ("value.", "row.check", "row.null_key", "row.last_id", "row.duplicate")
_NAMED = 10


def structure(
    sqlite: sqlite3.Connection,
    path: Path,
    postgres: psycopg.Connection[Any] | None,
    source: SchemaSource,
    policy: Policy,
    excluded: Collection[str] = (),
) -> tuple[dict[str, Shape], list[Finding]]:
    """The shapes of the tables that would take part, and what the schemas, the file and the server say.

    Args:
        excluded: tables, and columns as TABLE.COLUMN, that the operator leaves out. Nothing else is said of them.
    """
    found = list(file_findings(sqlite, path, source))
    if postgres is not None:
        found += server.server_findings(postgres, load_settings(), 2 * path.stat().st_size)
    reachable = postgres if postgres is not None and server.has_schema(postgres) else None
    ours, theirs = left_out.sqlite_needs(sqlite), left_out.postgres_needs(reachable)
    on_record = sqlite_left_out(sqlite)
    virtual = {name: parts for name, parts in virtual_tables(sqlite).items() if name not in on_record}
    without = left_out.resolve(excluded, ours, theirs, virtual)
    inside = {part for table, parts in virtual.items() for part in (table, *parts)}
    shapes = {
        name: shape.without({column for table, column in without.columns if table == name})
        for name, shape in read_shapes(sqlite, postgres, models(), limits=source.installed).items()
        if name not in without.tables | inside
    }
    found += schema.database_findings(sqlite, virtual, installed=source.installed)
    found += schema.policy_findings(shapes, policy)
    found += _triggers(sqlite, postgres, without.tables | inside)
    if reachable is not None:
        found += _against(sqlite, reachable, shapes, source, without.tables)
    if source.installed:  # of what stands on SQLite alone no kind is known
        absent = {item.table for item in found if item.code == "schema.drift" and not item.column}
        shapes = {name: shape for name, shape in shapes.items() if name not in absent}
    for shape in shapes.values():
        found += schema.table_findings(sqlite, shape, installed=source.installed)
        found += null_keys(sqlite, shape)
        found += last_ids(sqlite, shape)
    found = [
        left_out.in_full(item, ours, theirs)
        for item in found
        if item.table not in without.tables and (item.table, item.column) not in without.columns
    ]
    return shapes, [*found, *left_out.findings(without, ours, theirs)]


def _against(
    sqlite: sqlite3.Connection,
    postgres: psycopg.Connection[Any],
    shapes: dict[str, Shape],
    source: SchemaSource,
    without: Collection[str],
) -> Iterator[Finding]:
    """What the schema of PostgreSQL says, and what stands in its tables, if they may be read."""
    if foreign := list(server.not_owned(postgres, shapes)):
        yield from foreign
        return
    yield from schema.drift(set(shapes), postgres, without, installed=source.installed)
    yield from _unfit(unfit_tables(postgres, shapes))
    yield from schema.narrow_findings(postgres, installed=source.installed)
    if source.installed:
        yield from installed_findings(sqlite, postgres, shapes)
        yield from server.untied_sequences(postgres)
    if not is_prepared_postgres(postgres):
        yield from server.reserved(postgres, shapes)
        if source.installed:
            yield from seeded(sqlite, postgres, shapes)
        else:
            yield from filled(postgres, shapes)
        yield from left_out.keys_from_outside(postgres, shapes)
        yield from server.unreplicated(postgres, shapes)


def _unfit(found: Iterable[Unfit]) -> Iterator[Finding]:
    for item in found:
        yield Finding(
            item.code,
            Severity.BLOCKS,
            item.reason,
            item.remedy,
            table=item.table,
            on_postgres=item.statement,
        )


def is_worth_trying(
    postgres: psycopg.Connection[Any],
    common: Collection[str],
    found: Iterable[Finding],
    source: SchemaSource,
) -> bool:
    """Whether the chain can be tried: a server that will do, the right revision, none of the tables there yet."""
    if source.installed:
        return False
    stops = ("postgres.", "alembic.", "sqlite.")
    return (
        not any(item.severity is Severity.BLOCKS and item.code.startswith(stops) for item in found)
        and not is_prepared_postgres(postgres)
        and not set(postgres_columns(postgres)) & set(common)
    )


def trial_findings(tried: Tried, excluded: Collection[str] = ()) -> Iterator[Finding]:
    """What came of the chain in a schema that was thrown away."""
    if tried.skipped:
        yield Finding(
            "alembic.untried", Severity.INFO, f"the chain was not tried: {tried.skipped}", "nothing"
        )
    if failed := tried.failed:
        yield Finding(
            "alembic.trial",
            Severity.BLOCKS if failed.certain else Severity.WARNS,
            failed.text,
            failed.remedy,
            table=failed.table,
            column=failed.column if failed.table else "",
        )
    for name in tried.only_on_sqlite:
        yield Finding(
            "schema.drift",
            Severity.BLOCKS,
            "the chain does not make this table on PostgreSQL",
            f"add it to the chain, or leave it out: --leave-out {name}",
            table=name,
        )
    for name in tried.only_on_postgres:
        yield Finding(
            "schema.drift",
            Severity.BLOCKS,
            "the chain makes this table on PostgreSQL, and SQLite lacks it",
            "let the chain make it on both sides",
            table=name,
        )
    for table, column, side in tried.columns:
        if f"{table}.{column}" in excluded:
            continue
        yield Finding(
            "schema.drift",
            Severity.BLOCKS,
            f"after the chain the column is only on {side}",
            f"let the chain make it on both sides, or leave it out: --leave-out {table}.{column}",
            table=table,
            column=column,
        )
    yield from _unfit(item for item in tried.unfit if item.table not in excluded)
    for table, index in tried.not_partial:
        yield Finding(
            "schema.partial_index",
            Severity.BLOCKS,
            f"unique index {index} is partial on SQLite and covers every row on PostgreSQL",
            "give the index postgresql_where beside sqlite_where",
            table=table,
        )


def refuse(found: Iterable[Finding], *, discard_target: bool = False) -> None:
    """Refuse what blocks.

    Args:
        discard_target: rows that PostgreSQL already holds in the common tables are to go.

    Raises:
        Refused: something blocks; its codes and reasons are those of the findings.
    """
    blocking = [
        item
        for item in found
        if item.severity is Severity.BLOCKS
        and not item.code.startswith(LATER)
        and not (discard_target and item.code == "postgres.not_empty")
    ]
    if not blocking:
        return
    first = blocking[0]
    more = f", and {len(blocking) - 1} more" if len(blocking) > 1 else ""
    raise Refused(
        " ".join(filter(None, (f"{first.place}:" if first.place else "", first.reason))) + more,
        reasons=tuple(_reason(item) for item in blocking[:_NAMED]) if more else (),
        hint=f"{first.remedy}; st-migrate preflight lists everything",
        codes=tuple(dict.fromkeys(item.code for item in blocking)),
    )


def _reason(item: Finding) -> str:
    return " ".join(filter(None, (item.code, f"{item.place}:" if item.place else "", item.reason)))


def _triggers(
    sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any] | None, without: Collection[str]
) -> Iterator[Finding]:
    prepared = is_prepared_sqlite(sqlite)
    for trigger in foreign_on_sqlite(sqlite, without):
        drop = f"DROP TRIGGER {quote(trigger.name)}"
        yield Finding(
            "schema.trigger",
            Severity.BLOCKS,
            f"trigger {trigger.name} on SQLite would fire again for what apply writes there",
            trigger.remedy
            if prepared
            else f"{drop} (on SQLite); if its work is needed, create it after prepare with WHEN ({QUIET[Side.SQLITE]})",
            table=trigger.table,
            on_sqlite="" if prepared else drop,
            undo="" if prepared else made_by(sqlite, trigger.name),
        )
    if postgres is None or not server.has_schema(postgres):
        return
    for trigger in foreign_on_postgres(postgres):
        yield Finding(
            "schema.trigger",
            Severity.BLOCKS,
            f"{trigger.what} {trigger.name} on PostgreSQL would fire again for what copy and apply write there",
            trigger.remedy,
            table=trigger.table,
        )
