"""The settings of a PostgreSQL session that decide how values are printed and read, as every part here needs them.

Server, database, role, the environment and a pooler may each set them otherwise. A float that is printed with
fewer digits is another value, and a comparison that reads through the same loss finds nothing. So every
connection sets all of them. A connection with a session of its own sets them in its options. Where a pooler
hands sessions round, each transaction begins by setting them.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from app.db.common.settings import Pooler, ShimSettings

# Setting to value. `array_nulls`: without it a NULL in an array parameter is read as the text "NULL".
FORMS: dict[str, str] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "array_nulls": "on",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
}
# For the transaction that it is executed in, an implicit one of a pipeline as well.
SET_LOCAL: bytes = (
    "SELECT "
    + ", ".join(
        f"set_config({sql.Literal(name).as_string(None)}, {sql.Literal(value).as_string(None)}, true)"
        for name, value in FORMS.items()
    )
).encode()
_SET_SESSION = SET_LOCAL.replace(b", true)", b", false)")


def is_pooled(settings: ShimSettings) -> bool:
    """Whether two transactions of one connection may run in two sessions of the server."""
    return settings.pg_pooler is not Pooler.NONE


def connect_with_forms(
    arguments: dict[str, Any], settings: ShimSettings, options: str = ""
) -> dict[str, Any]:
    """Arguments of a connection, such that its session prints and reads values in the forms above.

    Args:
        arguments: of the driver; `options` among them come first, so that ours hold.
        options: more `-c name=value` of the caller's.
    """
    changed = {**arguments, "client_encoding": "utf8"}
    if is_pooled(settings):
        changed["prepare_threshold"] = None
        return changed
    forms = " ".join(f"-c {name}={value}" for name, value in FORMS.items())
    changed["options"] = f"{arguments.get('options', '')} {options} {forms}".strip()
    return changed


def settle_session(connection: Any, settings: ShimSettings) -> None:
    """Set the forms of a new session again if something came after its options: PGDATESTYLE and PGTZ do.

    Args:
        connection: psycopg's, not in a transaction; it is left so.
    """
    if is_pooled(settings):
        return
    told = {name: connection.info.parameter_status(name) or "" for name in ("TimeZone", "DateStyle")}
    if told["TimeZone"] == "UTC" and told["DateStyle"].startswith("ISO"):
        return
    connection.execute(_SET_SESSION)
    if not connection.autocommit:
        connection.commit()


def begin_with_forms(connection: Any, settings: ShimSettings) -> None:
    """Set what a connection's transaction has to begin with. Nothing is set where the session is its own."""
    if is_pooled(settings):
        connection.execute(SET_LOCAL)
