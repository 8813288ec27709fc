"""What a column holds: its kind. Each concern has one table that says something of every kind.

Here stand the tables that several parts share. The others stand beside what they decide. The canonical form
is in `canonical`, and what PostgreSQL is asked for is in `sides.postgres.source`. The binary copy, preflight
and verify are in `migration`. A test compares each of them with the enum, so a kind that was forgotten
somewhere is found by the name of the table.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a column holds, decided by its type on PostgreSQL."""

    INTEGER = "integer"
    FLOAT = "float"
    REAL = "real"
    BOOLEAN = "boolean"
    TEXT = "text"
    TIMESTAMP = "timestamp"
    DATE = "date"
    TIME = "time"
    BLOB = "blob"
    NUMERIC = "numeric"
    UUID = "uuid"
    INSTANT = "instant"
    INTERVAL = "interval"
    JSON = "json"
    JSONB = "jsonb"
    ADDRESS = "address"


# format_type() of PostgreSQL, without a length, to kind. Enums keep their text form.
POSTGRES_KINDS: dict[str, Kind] = {
    "smallint": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "bigint": Kind.INTEGER,
    "double precision": Kind.FLOAT,
    "real": Kind.REAL,
    "boolean": Kind.BOOLEAN,
    "text": Kind.TEXT,
    "character varying": Kind.TEXT,
    "character": Kind.TEXT,
    "citext": Kind.TEXT,
    "timestamp without time zone": Kind.TIMESTAMP,
    "date": Kind.DATE,
    "time without time zone": Kind.TIME,
    "bytea": Kind.BLOB,
    "numeric": Kind.NUMERIC,
    "uuid": Kind.UUID,
    "timestamp with time zone": Kind.INSTANT,
    "interval": Kind.INTERVAL,
    "json": Kind.JSON,
    "jsonb": Kind.JSONB,
    "inet": Kind.ADDRESS,
    "cidr": Kind.ADDRESS,
}
# Types that a cast has to spell otherwise: `character` alone would be one character long.
CASTS = {"character": "bpchar"}
# Types of a kind that can be a key which cannot be one: PostgreSQL calls keys equal there that SQLite tells apart.
NO_KEY_TYPES = frozenset({"citext"})

# The type by which PostgreSQL orders a key column of a kind. None: a key cannot have the kind.
KEY_TYPES: dict[Kind, str | None] = {
    Kind.INTEGER: "bigint",
    Kind.FLOAT: "double precision",
    Kind.REAL: None,
    Kind.BOOLEAN: "boolean",
    Kind.TEXT: "text",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.DATE: "date",
    Kind.TIME: "time without time zone",
    Kind.BLOB: "bytea",
    Kind.NUMERIC: "numeric",
    Kind.UUID: "uuid",
    Kind.INSTANT: "timestamp with time zone",
    Kind.INTERVAL: "interval",
    Kind.JSON: None,
    Kind.JSONB: None,
    Kind.ADDRESS: "inet",
}
# Whether values that SQLite tells apart may be one value on PostgreSQL: they have several spellings.
SPELLINGS: dict[Kind, bool] = {
    Kind.INTEGER: False,
    Kind.FLOAT: False,
    Kind.REAL: True,
    Kind.BOOLEAN: False,
    Kind.TEXT: False,
    Kind.TIMESTAMP: True,
    Kind.DATE: False,
    Kind.TIME: True,
    Kind.BLOB: False,
    Kind.NUMERIC: True,
    Kind.UUID: True,
    Kind.INSTANT: True,
    Kind.INTERVAL: True,
    Kind.JSON: False,
    Kind.JSONB: True,
    Kind.ADDRESS: True,
}
# PostgreSQL's expression of a value as text that has a canonical form, whatever the session's zone.
PRINTED: dict[Kind, str] = {
    Kind.INTEGER: "{0}::text",
    Kind.FLOAT: "{0}::text",
    Kind.REAL: "{0}::double precision",  # every digit; such a column is no key, so nothing logs it
    Kind.BOOLEAN: "{0}::text",
    Kind.TEXT: "{0}::text",
    Kind.TIMESTAMP: "{0}::text",
    Kind.DATE: "{0}::text",
    Kind.TIME: "{0}::text",
    Kind.BLOB: "{0}::text",
    Kind.NUMERIC: "{0}::text",
    Kind.UUID: "{0}::text",
    Kind.INSTANT: "({0} AT TIME ZONE 'UTC')::text",
    # Months have no length; what counts them stays as it is printed, which has no form.
    Kind.INTERVAL: "(CASE WHEN extract(year FROM {0}) = 0 AND extract(month FROM {0}) = 0 "
    "THEN trunc(extract(epoch FROM {0}) * 1000000)::text || ' microseconds' ELSE {0}::text END)",
    Kind.JSON: "{0}::text",
    Kind.JSONB: "{0}::text",
    Kind.ADDRESS: "{0}::text",
}
# Whether a key of the kind is logged as one JSON value on both sides, as it is. The others are logged as text
# beside other columns: JSON has no such value, or not every digit of it.
IN_JSON: dict[Kind, bool] = {
    Kind.INTEGER: True,
    Kind.FLOAT: False,
    Kind.REAL: False,
    Kind.BOOLEAN: False,
    Kind.TEXT: True,
    Kind.TIMESTAMP: False,
    Kind.DATE: False,
    Kind.TIME: False,
    Kind.BLOB: False,
    Kind.NUMERIC: False,
    Kind.UUID: True,
    Kind.INSTANT: False,
    Kind.INTERVAL: False,
    Kind.JSON: False,
    Kind.JSONB: False,
    Kind.ADDRESS: False,
}


def can_be_key(kind: Kind, cast: str) -> bool:
    """Whether a key may have a column of this kind and type."""
    return KEY_TYPES[kind] is not None and cast not in NO_KEY_TYPES


def printed(kind: Kind, name: str) -> str:
    """PostgreSQL's expression that prints a column. See `PRINTED`."""
    return PRINTED[kind].replace("{0}", name)
