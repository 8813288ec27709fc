"""The settings of a PostgreSQL session that decide how values are printed and read, as every part here needs them.

Server, database, role, the environment and a pooler may each set them otherwise. A float that is printed with
fewer digits is another value, and a comparison that reads through the same loss finds nothing. So every
connection sets all of them. A connection with a session of its own sets them in its options. Where a pooler
hands sessions round, each transaction begins by setting them.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from app.db.common.errors import ConfigurationError
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
TRANSACTION_TIMEOUT = 17_00_00  # the version that brought the setting of this name
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


def begin_patiently(connection: Any, settings: ShimSettings) -> None:
    """The same for work of ours, and its own limits instead of those that a role or a database stores for requests."""
    if not is_pooled(settings):
        return
    limits = (
        "set_config('statement_timeout', '0', true), set_config('lock_timeout', %s, true), "
        "set_config('idle_in_transaction_session_timeout', '60000', true)"
    )
    if connection.info.server_version >= TRANSACTION_TIMEOUT:
        limits += ", set_config('transaction_timeout', '0', true)"
    connection.execute(f"SELECT {limits}", (str(settings.pg_lock_timeout_ms),))
    begin_with_forms(connection, settings)


_STORED = {
    "database": "ALTER DATABASE {database} RESET {name}",
    "user": "ALTER ROLE {role} RESET {name}",
    "database user": "ALTER ROLE {role} IN DATABASE {database} RESET {name}",
}


def stored_where(connection: Any, name: str) -> tuple[str, str]:
    """Where the value comes from that a setting has in this session, and the statement that takes it back."""
    source, database, role = connection.execute(
        "SELECT source, quote_ident(current_database()), quote_ident(session_user) FROM pg_settings WHERE name = %s",
        (name,),
    ).fetchone()
    named = {"database": database, "role": role, "name": name}
    if source not in _STORED:
        return f"comes from the server or the URL ({source})", f"remove {name} there"
    place = {"database": f"database {database}", "user": f"role {role}"}
    where = place.get(source, f"role {role} in database {database}")
    return f"is stored for {where}", _STORED[source].format(**named)


# In which schema the bookkeeping of a move is that this role may read: the present one first.
_HOME = """
SELECT n.nspname, n.nspname = current_schema(), pg_table_is_visible(c.oid), current_schema() IS NULL,
       current_setting('search_path')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'primary_side'
WHERE c.relname = 'st_control' AND c.relkind = 'r' AND has_table_privilege(c.oid, 'SELECT')
ORDER BY 2 DESC NULLS LAST, 3 DESC, 1 LIMIT 1
"""


def require_home(connection: Any) -> None:
    """Refuse a session whose search_path leads elsewhere than to the tables of the move.

    A path of the URL's own may lead to a schema that has no move yet.

    Raises:
        ConfigurationError: says what search_path is, where it is stored, and how that is taken back.
    """
    row = connection.execute(_HOME).fetchone()
    if row is None or row[1]:
        return
    home, _, visible, nowhere, path = row
    stored, remedy = stored_where(connection, "search_path")
    if visible or nowhere or stored.startswith("is stored"):
        raise ConfigurationError(
            f"search_path = {path} leads elsewhere than to schema {home}, which holds the tables of this move; it {stored}",
            hint=f"{remedy}, or set one that begins with {home}",
        )


def why_read_only(connection: Any) -> tuple[str, str] | None:
    """Why a server takes no writes of sessions like this one, and what mends that. None if it takes them."""
    standby, by_default = connection.execute(
        "SELECT pg_is_in_recovery(), reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only'"
    ).fetchone()
    if standby:
        return "the server is a standby, which takes no writes", "name the primary server in the URL"
    if not by_default:
        return None
    stored, remedy = stored_where(connection, "default_transaction_read_only")
    return (
        f"transactions on PostgreSQL are read-only: default_transaction_read_only = on {stored}",
        f"{remedy}, then restart what is connected; a provider may have set it because the disk is full",
    )
