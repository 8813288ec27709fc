"""Mismatches and rows in quarantine, column by column with the values of both sides.

Reads some rows at most, and writes none.
"""

from __future__ import annotations

from typing import Any

from app.db.rows import keys
from app.db.rows.catalog import Row, Table, read_schema
from app.db.sides.stores import Stores
from migration.common.plain import plain, stored
from migration.verify import state as verify_state
from migration.watch.quarantine import held_rows

SHOWN = 50
TEXT = 200  # characters of a value


def details(stores: Stores) -> dict[str, Any]:
    """The first mismatches and rows in quarantine.

    Raises:
        SwitchError, psycopg.Error: a side cannot be read.
    """
    schema = read_schema(stores.sqlite.connection, stores.postgres.connection)
    listed, counts = verify_state.found(stores, schema, sorted(schema))
    held = held_rows(stores.postgres)
    return {
        "mismatches": [_mismatch(stores, schema, item) for item in listed[:SHOWN]],
        "mismatches_in_all": sum(counts.values()),
        "quarantine": [
            {
                **row.summary(),
                "values": [
                    {"column": name, "value": stored(value)[:TEXT]} for name, value in row.content.items()
                ],
            }
            for row in held[:SHOWN]
        ],
        "quarantine_in_all": len(held),
    }


def _mismatch(stores: Stores, schema: Any, item: Any) -> dict[str, Any]:
    table = schema[item.table]
    values = [] if item.kind == "count" else _values(stores, table, item)
    return {"table": item.table, "key": plain(item.key_text()), "kind": item.kind, "values": values}


def _values(stores: Stores, table: Table, item: Any) -> list[dict[str, Any]]:
    raws = [keys.logged(table, item.key)]
    with stores.sqlite.source() as source:
        ours = source.rows_of(table, raws)
    with stores.postgres.source() as source:
        theirs = source.rows_of(table, raws)
    return [
        {
            "column": column.name,
            "sqlite": _told(ours, n),
            "postgres": _told(theirs, n),
            "differs": column.name in item.columns,
        }
        for n, column in enumerate(table.columns)
    ]


def _told(rows: list[Row], n: int) -> str | None:
    """A value as text. None where there is no such row."""
    return plain(repr(rows[0][n]))[:TEXT] if rows else None
