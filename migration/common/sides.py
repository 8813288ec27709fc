"""Which two databases a command is about: the options, else the two environment variables."""

from __future__ import annotations

from sqlalchemy import URL

from app.db.common.errors import ConfigurationError
from app.db.common.settings import database_url, load_settings
from app.db.common.url_options import bare
from app.db.common.urls import Pair, Side, as_text, make_pair, parse_url, side_of
from app.db.sides.stores import Stores

APPLICATION_NAME = "st-migrate"


def sqlite_option(text: str) -> URL:
    """What --sqlite names: a URL or the bare path of a file.

    Raises:
        ConfigurationError: it names another kind of database.
    """
    if text.strip() and "://" not in text and not text.startswith("file:"):
        return URL.create("sqlite", database=text)
    url = parse_url(f"sqlite:///{text}" if text.startswith("file:") else text, name="--sqlite")
    return _of_kind(url, Side.SQLITE, "--sqlite")


def postgres_option(text: str) -> URL:
    """What --postgres names.

    Raises:
        ConfigurationError: not a URL, or of another kind of database.
    """
    return _of_kind(parse_url(text, name="--postgres"), Side.POSTGRES, "--postgres")


def _of_kind(url: URL, side: Side, option: str) -> URL:
    if side_of(url) is not side:
        raise ConfigurationError(
            f"{option} names a {side_of(url)} database",
            hint=f"give it the {side} side; the other has its own option",
        )
    return url


def find_sides(sqlite: str | None, postgres: str | None) -> dict[Side, URL]:
    """The sides that options and environment name, at most one URL each.

    Raises:
        ConfigurationError: a URL is wrong, or both variables name the same kind of database.
    """
    found: dict[Side, URL] = {}
    if sqlite is not None:
        found[Side.SQLITE] = sqlite_option(sqlite)
    if postgres is not None:
        found[Side.POSTGRES] = postgres_option(postgres)
    if len(found) == 2:
        return found
    own = database_url()
    ours = parse_url(own, name="ST_DATABASE_URL") if own else None
    shadow = bare(load_settings().shadow_database_url)
    theirs = parse_url(shadow, name="ST_SHADOW_DATABASE_URL") if shadow else None
    if ours is not None and theirs is not None and not found:
        make_pair(ours, theirs)
    for url in filter(None, (ours, theirs)):
        found.setdefault(side_of(url), url)
    return found


def named_for_commands(pair: Pair, side: Side) -> dict[str, str]:
    """The environment by which an application's own command finds a side; it may hold a password."""
    if side is Side.SQLITE:
        path = str(pair.path.absolute())
        return {"ST_DATABASE_URL": f"sqlite:///{path}", "ST_SQLITE_FILE": path}
    return {"ST_DATABASE_URL": as_text(pair.postgres.set(drivername="postgresql"))}


def find_pair(sqlite: str | None, postgres: str | None) -> Pair:
    """Both sides.

    Raises:
        ConfigurationError: a side is not named anywhere, or see `find_sides`.
    """
    found = find_sides(sqlite, postgres)
    for side in Side:
        if side not in found:
            raise ConfigurationError(
                f"no {side} database is named",
                hint=f"give --{side} {'FILE' if side is Side.SQLITE else 'URL'}, or set ST_SHADOW_DATABASE_URL",
            )
    return Pair(found[Side.SQLITE], found[Side.POSTGRES])


def open_stores(pair: Pair) -> Stores:
    """The pair through connections of this call's own; PostgreSQL is connected to at its first use."""
    return Stores.open(pair, load_settings(), application_name=APPLICATION_NAME)
