"""Every way to write a database URL is understood, or one line says what to write instead."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import URL, make_url

from app.core import config
from app.db.common.errors import ConfigurationError
from app.db.common.settings import database_url
from app.db.common.url_options import bare
from app.db.common.urls import as_text, connect_arguments, parse_url
from loadtests.stage.embedded import EmbeddedPostgres
from migration.common.sides import sqlite_option

POSTGRES = {
    "postgresql://u@h/d": {"host": "h", "user": "u", "dbname": "d"},
    "postgres://u@h/d": {"host": "h", "user": "u", "dbname": "d"},
    "postgresql+asyncpg://u@h:5/d": {"host": "h", "port": 5, "user": "u", "dbname": "d"},
    "postgresql+psycopg2://u@h/d": {"host": "h", "user": "u", "dbname": "d"},
    ' "postgresql://u@h/d" \n': {"host": "h", "user": "u", "dbname": "d"},
    "'postgresql://u@h/d'": {"host": "h", "user": "u", "dbname": "d"},
    "postgresql://u@h/d?ssl=require": {"host": "h", "user": "u", "dbname": "d", "sslmode": "require"},
    "postgresql://u@h/d?ssl=true": {"host": "h", "user": "u", "dbname": "d", "sslmode": "require"},
    "postgresql://u@h/d?ssl=verify-full": {"host": "h", "user": "u", "dbname": "d", "sslmode": "verify-full"},
    "postgresql://u@h/d?pgbouncer=false": {"host": "h", "user": "u", "dbname": "d"},
    "postgresql://u@h/d?sslmode=disable&connect_timeout=3": {
        "host": "h",
        "user": "u",
        "dbname": "d",
        "sslmode": "disable",
        "connect_timeout": "3",
    },
    "postgresql://u@%2Fvar%2Frun%2Fpg/d": {"host": "/var/run/pg", "user": "u", "dbname": "d"},
    "postgresql://u@%2Fvar%2Frun:5433/d": {"host": "/var/run", "port": "5433", "user": "u", "dbname": "d"},
    "postgresql://u@/d?host=/var/run": {"host": "/var/run", "user": "u", "dbname": "d"},
    "postgresql://u@db%2Dhost/d": {"host": "db-host", "user": "u", "dbname": "d"},
    "postgresql://u:p%40%2F%25@h/d": {"host": "h", "user": "u", "password": "p@/%", "dbname": "d"},
    "postgresql://u@/d?host=a:1&host=b:2": {"host": "a,b", "port": "1,2", "user": "u", "dbname": "d"},
    "postgresql://u@[::1]:5/d": {"host": "::1", "port": 5, "user": "u", "dbname": "d"},
}
SQLITE = {
    "sqlite:////a/p.db": "/a/p.db",
    "sqlite:///p.db": "p.db",
    "sqlite+aiosqlite:///p.db": "p.db",
    "sqlite+pysqlite:////a/p.db": "/a/p.db",
    "'sqlite:///p.db'": "p.db",
    "sqlite:///file:p?mode=rw&uri=true": "p",
    "sqlite:///file:/a/p%20q.db?uri=true": "/a/p q.db",
    "sqlite:///file:///a/p.db?mode=rwc&cache=private&uri=true": "/a/p.db",
    "sqlite:///p.db?check_same_thread=false": "p.db",
    "sqlite:////a/what%3F 100%25.db": "/a/what? 100%.db",
}
REFUSED = {
    "": ("is empty", "postgresql://"),
    "  ": ("is empty", "sqlite:////"),
    '""': ("is empty", "sqlite:////"),
    "host=h dbname=d": ("is not a database URL", "postgresql://user@host/database"),
    "service=shop": ("is not a database URL", "write postgresql:///?service=shop"),
    "postgresql://u:p@ss@h/d": ("has an @ in its user or password", "postgresql://user:p%40ss@host/database"),
    "jdbc:postgresql://h/d": ("is not a database URL", "leave `jdbc:` out"),
    "postgresql://u:secret@h:5a/d": ("is not a database URL", "postgresql://"),
    "postgresql://u:secret@one:5432,two:5432/d": ("is not a database URL", "host=one:5432&host=two:5432"),
    "mysql://h/d": ("names a mysql database", "only SQLite and PostgreSQL"),
    "postgresql://u:secret@h": ("names no database", "database at the end"),
    "postgresql://u:secret@h/d?pgbouncer=true": ("option pgbouncer", "ST_PG_POOLER=transaction"),
    "postgresql://u@h/d?connection_limit=5": ("option connection_limit", "ST_PG_POOL_SIZE"),
    "postgresql://u@h/d?schema=public": ("option schema", "search_path"),
    "postgresql://u@h/d?statement_cache_size=0": ("option statement_cache_size", "ST_PG_POOLER"),
    "postgresql://u@h/d?ssl=maybe": ("option ssl", "sslmode=require"),
    "postgresql://u@h/d?SSLMode=require": ("option SSLMode", "write sslmode"),
    "postgresql://u@h/d?wibble=1": ("option wibble", "leave it out"),
    "postgresql://u@h/d?sslmode=on": ("sslmode=on", "verify-full"),
    "postgresql://u@h/d?connect_timeout=soon": ("connect_timeout=soon", "whole number"),
    "postgresql://u@h/d?sslmode=require&sslmode=disable": ("sslmode twice", "keep one"),
    "sqlite://": ("names no SQLite file", "sqlite:////"),
    "sqlite:///:memory:": ("names no SQLite file", "sqlite:////"),
    "sqlite:///file::memory:?uri=true": ("names no SQLite file", "sqlite:////"),
    "sqlite:///file:x?mode=memory&uri=true": ("names no SQLite file", "sqlite:////"),
    "sqlite:///file:p?mode=ro&uri=true": ("has mode=ro", "leave it out"),
    "sqlite:///file:p?immutable=1&uri=true": ("has the option immutable", "leave it out"),
    "sqlite:///p.db?timeout=30": ("has timeout=30", "ST_SQLITE_BUSY_TIMEOUT_MS"),
    "sqlite:///p.db?key=secret": ("has the option key", "leave it out"),
    "sqlite://data/p.db": ("names a host", "sqlite:///data/p.db"),
    "sqlite+pysqlcipher://:secret@/p.db": ("encrypted", "decrypt"),
}


@pytest.mark.parametrize("text", POSTGRES)
def test_postgres_url_is_understood(text: str) -> None:
    url = parse_url(text, name="ST_DATABASE_URL")
    assert url.drivername == "postgresql+psycopg"
    assert connect_arguments(url) == POSTGRES[text]
    again = parse_url(url.render_as_string(hide_password=False), name="the same, handed to another process")
    assert connect_arguments(again) == POSTGRES[text]


@pytest.mark.parametrize("text", SQLITE)
def test_sqlite_url_is_understood(text: str) -> None:
    url = parse_url(text, name="ST_DATABASE_URL")
    assert url == URL.create("sqlite", database=SQLITE[text])
    assert parse_url(as_text(url), name="again").database == SQLITE[text]


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_honoured_is_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_url(text, name="ST_DATABASE_URL")
    message, hint = REFUSED[text]
    assert caught.value.message.startswith("ST_DATABASE_URL ") and message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [("a b.db", "a b.db"), ("file:a%20b.db", "a b.db"), ("100%.db", "100%.db"), ("what?.db", "what?.db")],
)
def test_sqlite_option_takes_paths_too(text: str, path: str) -> None:
    assert sqlite_option(text).database == path


def test_blank_sqlite_option_is_one_line() -> None:
    with pytest.raises(ConfigurationError, match="--sqlite is empty"):
        sqlite_option(" ")


@pytest.mark.parametrize(
    ("text", "without"), [(' "" ', ""), ("''", ""), ('"', '"'), (" 'a' ", "a"), ('a"', 'a"')]
)
def test_quotes_around_a_setting_go(text: str, without: str) -> None:
    assert bare(text) == without


def test_libpq_takes_what_is_translated(postgres_server: EmbeddedPostgres, pg_url: str) -> None:
    """Not only the spelling: a server is reached."""
    url = parse_url(
        pg_url.replace("postgresql+psycopg", "postgres") + _joined(pg_url) + "ssl=prefer", name="url"
    )
    with psycopg.connect(**connect_arguments(url)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def _joined(url: str) -> str:
    return "&" if "?" in url else "?"


def test_file_url_opens_the_file(tmp_path: Path) -> None:
    (tmp_path / "p q.db").write_bytes(b"")
    url = parse_url(f"sqlite:///file:{tmp_path}/p%2520q.db?mode=rw&uri=true", name="url")
    assert Path(str(url.database)).is_file()


@pytest.mark.parametrize("kind", [str, make_url, SecretStr])
def test_settings_may_hold_the_url_in_other_types(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    """What `str` makes of the latter two has stars in the password's place."""
    text = "postgresql://u:p%40%2F%25@h/d"
    monkeypatch.setattr(config, "get_settings", lambda: SimpleNamespace(database_url=kind(text)))
    assert database_url() == text


def test_settings_without_a_url_are_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "get_settings", lambda: SimpleNamespace(database_url=None))
    assert database_url() is None
    monkeypatch.setattr(config, "get_settings", lambda: SimpleNamespace())
    with pytest.raises(ConfigurationError, match="name no database"):
        database_url()
