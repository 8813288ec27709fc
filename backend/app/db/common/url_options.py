"""What other programs write into database URLs, translated, or named with what to write instead.

An option that nothing here knows is refused before a connection is tried. A driver would raise an error of
its own, or ignore what the operator relies on.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from urllib.parse import unquote

from psycopg import pq
from sqlalchemy import URL

from app.db.common.errors import ConfigurationError

_SSL = {
    **dict.fromkeys(("true", "1", "on", "yes", "require"), "require"),
    **dict.fromkeys(("false", "0", "off", "no", "disable"), "disable"),
    **{mode: mode for mode in ("allow", "prefer", "verify-ca", "verify-full")},
}
_NO = ("false", "0", "off", "no", "")
_POOLER = "leave it out and set ST_PG_POOLER=transaction"
_POOL = "leave it out and set ST_PG_POOL_SIZE"
_SCHEMA = "write ?options=-csearch_path%3DNAME"
# Options that other programs read from a URL: what to do about each.
_INSTEAD: Mapping[str, str] = {
    "pgbouncer": _POOLER,
    **dict.fromkeys(("prepare_threshold", "statement_cache_size", "prepared_statement_cache_size"), _POOLER),
    **dict.fromkeys(("connection_limit", "pool_size", "max_overflow", "pool_timeout"), _POOL),
    **dict.fromkeys(("schema", "currentSchema", "search_path"), _SCHEMA),
    **dict.fromkeys(
        ("timeout", "pool_recycle"), "leave it out; write ?connect_timeout=SECONDS for that limit"
    ),
    "command_timeout": "leave it out and set ST_PG_STATEMENT_TIMEOUT_MS",
    "charset": "leave it out; the client encoding is UTF-8",
    "ssl": "write ?sslmode=require or ?sslmode=verify-full",
    "sslaccept": "write ?sslmode=require or ?sslmode=verify-full",
}
_WHOLE = (
    "port",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
)
# Of SQLite: options with the values under which leaving them out changes nothing.
_SQLITE_HARMLESS: Mapping[str, tuple[str, ...]] = {
    "uri": ("true", "false", "1", "0"),
    "mode": ("rw", "rwc"),
    "cache": ("private",),
    "check_same_thread": ("true", "false", "1", "0"),
}
_SQLITE_INSTEAD = {"timeout": "leave it out and set ST_SQLITE_BUSY_TIMEOUT_MS"}


def bare(text: str) -> str:
    """A setting without spaces and quotes around it, which some readers of .env files leave there."""
    text = text.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def translate_postgres(url: URL, name: str) -> URL:
    """A PostgreSQL URL with psycopg as driver and options that libpq knows.

    Raises:
        ConfigurationError: no database is named, the password holds an @ as it is, or an option or its value is unknown.
    """
    query = dict(url.query)
    for option, value in url.query.items():
        if option != "host" and not isinstance(value, str):
            raise ConfigurationError(f"{name} has the option {option} twice", hint="keep one of them")
        if option == "ssl" and "sslmode" not in url.query and str(value).lower() in _SSL:
            query["sslmode"] = _SSL[str(value).lower()]
            del query["ssl"]
        elif option == "pgbouncer" and str(value).lower() in _NO:
            del query["pgbouncer"]
        else:
            _check(option, str(value), name)
    if "@" in (url.host or ""):
        raise ConfigurationError(
            f"{name} has an @ in its user or password",
            hint="write %40 for it: postgresql://user:p%40ss@host/database",
        )
    url = url.set(drivername="postgresql+psycopg", query=query)
    if not url.database and not {"dbname", "service"} & query.keys():
        raise ConfigurationError(
            f"{name} names no database", hint="write postgresql://user@host/database, the database at the end"
        )
    return _with_plain_host(url)


def _check(option: str, value: str, name: str) -> None:
    if option not in _libpq_options():
        similar = get_close_matches(option.lower(), _libpq_options(), 1)
        hint = _INSTEAD.get(option) or (f"write {similar[0]}" if similar else "leave it out")
        raise ConfigurationError(
            f"{name} has the option {option}, which PostgreSQL's client does not know", hint=hint
        )
    if option in _WHOLE and not value.isdecimal():
        raise ConfigurationError(f"{name} has {option}={value}", hint="write a whole number")
    if option == "sslmode" and value not in _SSL.values():
        raise ConfigurationError(
            f"{name} has sslmode={value}", hint=f"write one of {', '.join(sorted(set(_SSL.values())))}"
        )


@cache
def _libpq_options() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


def _with_plain_host(url: URL) -> URL:
    """A percent-encoded host decoded; the folder of a socket as the option that SQLAlchemy knows."""
    if not url.host or "%" not in url.host:
        return url
    host = unquote(url.host)
    if not host.startswith(("/", "@")):
        return url.set(host=host)
    place = {"host": host, "port": str(url.port)} if url.port else {"host": host}
    return URL.create(
        url.drivername, url.username, url.password, database=url.database, query={**url.query, **place}
    )


def path_of(name: str) -> str:
    """The path in a `file:` URI; any other name as it is."""
    if not name.startswith("file:"):
        return name
    path = unquote(name.removeprefix("file:").partition("?")[0])
    return "/" + path.removeprefix("//").partition("/")[2] if path.startswith("//") else path


def translate_sqlite(url: URL, name: str) -> URL:
    """A SQLite URL that holds nothing but the path of the file.

    Raises:
        ConfigurationError: no file is named, or an option cannot be honoured.
    """
    path = url.database or ""
    if url.get_driver_name() == "pysqlcipher":
        raise ConfigurationError(
            f"{name} names an encrypted file", hint="decrypt it first; SQLCipher takes no part"
        )
    if url.host:
        whole = "/".join(filter(None, (url.host, path)))
        raise ConfigurationError(f"{name} names a host", hint=f"write sqlite:///{whole}, with three slashes")
    path = path_of(path)
    if path in ("", ":memory:") or url.query.get("mode") == "memory":
        raise ConfigurationError(f"{name} names no SQLite file", hint="write sqlite:////path/to/file.db")
    for option, value in url.query.items():
        if str(value).lower() not in _SQLITE_HARMLESS.get(option, ()):
            known = option in _SQLITE_HARMLESS or option in _SQLITE_INSTEAD  # another one may hold a secret
            shown = f"{option}={value}" if known and isinstance(value, str) else f"the option {option}"
            hint = _SQLITE_INSTEAD.get(option, "leave it out; the file is opened for reading and writing")
            raise ConfigurationError(f"{name} has {shown}, which is not supported", hint=hint)
    return URL.create("sqlite", database=path)
