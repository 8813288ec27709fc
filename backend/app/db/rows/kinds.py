"""What a column holds: its kind. Each concern has one table that says something of every kind.

Here stand the tables that several parts share. The others stand beside what they decide: the canonical
form in `canonical`, what PostgreSQL is asked for in `sides.postgres.source`, the binary copy, preflight and
verify in `migration`. A test compares each of them with the enum, so a kind that was forgotten somewhere is
found by the name of the table.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a column holds, decided by its type on PostgreSQL."""

    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    TIMESTAMP = "timestamp"
    DATE = "date"
    TIME = "time"
    BLOB = "blob"
    NUMERIC = "numeric"
    UUID = "uuid"


# format_type() of PostgreSQL, without a length, to kind. Enums and json keep their text form.
POSTGRES_KINDS: dict[str, Kind] = {
    "smallint": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "bigint": Kind.INTEGER,
    "double precision": Kind.FLOAT,
    "boolean": Kind.BOOLEAN,
    "text": Kind.TEXT,
    "character varying": Kind.TEXT,
    "json": Kind.TEXT,
    "timestamp without time zone": Kind.TIMESTAMP,
    "date": Kind.DATE,
    "time without time zone": Kind.TIME,
    "bytea": Kind.BLOB,
    "numeric": Kind.NUMERIC,
    "uuid": Kind.UUID,
}

# The type by which PostgreSQL orders a key column of a kind; None: a key cannot have the kind.
KEY_TYPES: dict[Kind, str | None] = {
    Kind.INTEGER: "bigint",
    Kind.FLOAT: None,
    Kind.BOOLEAN: None,
    Kind.TEXT: "text",
    Kind.TIMESTAMP: None,
    Kind.DATE: None,
    Kind.TIME: None,
    Kind.BLOB: None,
    Kind.NUMERIC: None,
    Kind.UUID: "uuid",
}
# Whether values that SQLite tells apart may be one value on PostgreSQL: they have several spellings.
SPELLINGS: dict[Kind, bool] = {
    Kind.INTEGER: False,
    Kind.FLOAT: False,
    Kind.BOOLEAN: False,
    Kind.TEXT: False,
    Kind.TIMESTAMP: True,
    Kind.DATE: False,
    Kind.TIME: True,
    Kind.BLOB: False,
    Kind.NUMERIC: True,
    Kind.UUID: True,
}
