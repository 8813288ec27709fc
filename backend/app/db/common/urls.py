"""Database URLs: which side one names, how to connect to it, and how to show it without its password."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import URL, make_url
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import ArgumentError

from app.db.common.errors import ConfigurationError
from app.db.common.url_options import bare, path_of, translate_postgres, translate_sqlite


class Side(StrEnum):
    """One of the two databases of the pair."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"

    @property
    def other(self) -> Side:
        return Side.POSTGRES if self is Side.SQLITE else Side.SQLITE


# SQLAlchemy 2.1 decodes the name of a database, 2.0 leaves it as it is written.
_DECODES = make_url("sqlite:///%41").database == "A"


@dataclass(frozen=True)
class Pair:
    """The two databases that take part in the move."""

    sqlite: URL
    postgres: URL

    def url(self, side: Side) -> URL:
        return self.sqlite if side is Side.SQLITE else self.postgres

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return Path(str(self.sqlite.database))


def parse_url(text: str, *, name: str) -> URL:
    """Turn a configured URL into SQLAlchemy's form, with psycopg 3 as PostgreSQL's driver.

    Other programs' spellings are translated where their meaning is sure: quotes around the URL, other
    drivers, `file:` paths, percent-encoded hosts, `ssl=`.

    Args:
        text: the URL as the operator wrote it.
        name: the variable or option it came from, for the error.

    Raises:
        ConfigurationError: not a URL, neither SQLite nor PostgreSQL, without a database name, or with an
            option that cannot be honoured. The hint says what to write instead.
    """
    text = bare(text)
    if not text:
        raise ConfigurationError(f"{name} is empty", hint=_EXAMPLES)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError: the port; its text would hold part of a password
        raise ConfigurationError(f"{name} is not a database URL", hint=_hint_for(text)) from None
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return translate_postgres(url, name)
    if backend == "sqlite":
        if url.database and not _DECODES:
            url = url.set(database=unquote(url.database))
        return translate_sqlite(url, name)
    raise ConfigurationError(
        f"{name} names a {backend} database", hint="only SQLite and PostgreSQL take part"
    )


def as_text(url: URL) -> str:
    """A URL as text that `parse_url` reads back, the password included."""
    if url.get_backend_name() == "sqlite" and url.database and not _DECODES:
        url = url.set(database=quote(url.database, safe="/: "))
    return url.render_as_string(hide_password=False)


def _hint_for(text: str) -> str:
    if "," in text.partition("://")[2]:
        return "several hosts are written as postgresql://user@/database?host=one:5432&host=two:5432"
    if text.startswith("service="):
        return f"write postgresql:///?{text.split()[0]}"
    if text.startswith("jdbc:"):
        return "leave `jdbc:` out: postgresql://user@host/database"
    return _EXAMPLES


_EXAMPLES = "write sqlite:////path/to/file.db or postgresql://user@host/database"


def side_of(url: URL) -> Side:
    """Which side a parsed URL names."""
    return Side.SQLITE if url.get_backend_name() == "sqlite" else Side.POSTGRES


def make_pair(first: URL, second: URL) -> Pair:
    """The pair that two URLs form, in either order.

    Raises:
        ConfigurationError: both name the same kind of database.
    """
    if side_of(first) is side_of(second):
        raise ConfigurationError(
            f"both database URLs name {side_of(first)}",
            hint="ST_DATABASE_URL and ST_SHADOW_DATABASE_URL must name one SQLite file and one PostgreSQL database",
        )
    return Pair(first, second) if side_of(first) is Side.SQLITE else Pair(second, first)


def same_database(one: URL, other: URL) -> bool:
    """Whether two URLs name one database, in whatever words, of whatever driver.

    Of SQLite the file counts, as SQLite itself finds it: through links, from the current folder, out of a
    `file:` URI. Of PostgreSQL the name counts, and an address that both have in common. A socket is an
    address of this machine.
    """
    if one.get_backend_name() != other.get_backend_name():
        return False
    if side_of(one) is Side.SQLITE:
        names = [path_of(str(url.database or "")) for url in (one, other)]
        return not {"", ":memory:"} & {*names} and len({os.path.realpath(name) for name in names}) == 1
    named, servers = zip(*(_servers(url) for url in (one, other)), strict=True)
    return named[0] == named[1] and not servers[0].isdisjoint(servers[1])


def are_looked_up(*urls: URL) -> bool:
    """Whether every server that these URLs name has an address by now.

    While the look-up of a name fails, an answer of `same_database` may become another one later.
    """
    return all(
        _addresses(unquote(host)) is not None
        for url in urls
        if side_of(url) is Side.POSTGRES
        for host in _hosts(_arguments(url))
    )


def _arguments(url: URL) -> dict[str, Any]:
    return connect_arguments(url.set(drivername="postgresql+psycopg"))


def _hosts(given: dict[str, Any]) -> list[str]:
    return str(given.get("hostaddr") or given.get("host") or os.environ.get("PGHOST", "")).split(",")


def _servers(url: URL) -> tuple[str, frozenset[tuple[str, str]]]:
    """The database's name, and address and port of each server that a URL of PostgreSQL names."""
    given = _arguments(url)
    hosts = _hosts(given)
    ports = str(given.get("port") or os.environ.get("PGPORT") or 5432).split(",")
    ports = ports if len(ports) == len(hosts) else ports[:1] * len(hosts)
    name = given.get("dbname") or os.environ.get("PGDATABASE") or given.get("user", "")
    return str(name), frozenset(
        (address, port or "5432")
        for host, port in zip(hosts, ports, strict=True)
        for address in _addresses(unquote(host)) or {host.lower()}
    )


_known: dict[str, frozenset[str]] = {}


def _addresses(host: str) -> frozenset[str] | None:
    """The addresses of a host. None while they cannot be looked up, which is not remembered."""
    if not host or host.startswith(("/", "@")):
        return frozenset({"this machine"})
    if host not in _known:
        try:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            return None
        found = {str(answer[4][0]) for answer in answers}
        _known[host] = frozenset("this machine" if _is_loopback(address) else address for address in found)
    return _known[host]


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def connect_arguments(url: URL) -> dict[str, Any]:
    """What psycopg.connect needs for this URL, several hosts and query options included."""
    dialect: Dialect = url.get_dialect()()
    _, arguments = dialect.create_connect_args(url)
    arguments.pop("context", None)
    return dict(arguments)


def shown(url: URL) -> str:
    """The URL as it may be printed: never with its password."""
    return url.render_as_string(hide_password=True)
