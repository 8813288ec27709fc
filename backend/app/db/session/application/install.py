"""One line for an application with sessions of its own: they follow the pair, in its process, without a restart.

    SessionLocal = sessionmaker(engine)
    install(SessionLocal)

What can be given, and what comes of it:

    sessionmaker, scoped_session, async_sessionmaker   is changed in place and returned
    a Session class, an AsyncSession class             a subclass of it is returned
    an engine                                          its statements at a fence raise `Fenced`; nothing is routed

A session that is bound to another database, or to a connection, stays as it is. With no shadow configured nothing
is changed at all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from app.db.common.errors import ConfigurationError
from app.db.common.settings import ShimSettings, database_url, shim_settings
from app.db.common.url_options import bare
from app.db.common.urls import (
    Side,
    are_looked_up,
    as_text,
    make_pair,
    parse_url,
    same_database,
    shown,
    side_of,
)
from app.db.session.at_start import begin_with_first_session
from app.db.session.engines import name_the_fence
from app.db.session.routed import RoutedSession
from app.db.session.runtime import Runtime, make_runtime, share

try:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

    from app.db.session.application.threads import threaded
except (
    ImportError
):  # SQLAlchemy 2.1 has these beside greenlet alone; without it no application has them either

    class _Absent:
        """What nothing is an instance of."""

    AsyncEngine = AsyncSession = async_sessionmaker = _Absent  # type: ignore[assignment,misc]

T = TypeVar("T")
_of_pair: WeakKeyDictionary[Runtime, WeakKeyDictionary[Engine, bool]] = WeakKeyDictionary()
_KINDS = "give a sessionmaker, an async_sessionmaker, a scoped_session, a Session class or an engine"


def install(
    target: T,
    *,
    sqlite: str | URL | None = None,
    postgres: str | URL | None = None,
    on_engine: Callable[[Engine], None] | None = None,
) -> T:
    """Have sessions follow the pair of databases.

    Args:
        target: what makes the application's sessions, or an engine of its own.
        sqlite, postgres: both sides. Where they are not given, one is the side that `target` is bound to, or
            ST_DATABASE_URL. The other is ST_SHADOW_DATABASE_URL.
        on_engine: is called with each engine that is made for a side, so that the application can add its listeners.

    Returns:
        What to use from now on: `target` itself, or a subclass of it.

    Raises:
        ConfigurationError: the databases are not one SQLite file and one PostgreSQL database, or `target` is
            something else.
    """
    if isinstance(target, (Engine, AsyncEngine)):
        event.listen(
            target.sync_engine if isinstance(target, AsyncEngine) else target, "handle_error", name_the_fence
        )
        return target
    if isinstance(target, scoped_session):
        install(target.session_factory, sqlite=sqlite, postgres=postgres, on_engine=on_engine)
        target.remove()  # a session of before would not follow
        return target
    bind = getattr(target, "kw", {}).get("bind")
    runtime = _runtime(getattr(bind, "url", None), sqlite, postgres, on_engine)
    if runtime is not None and isinstance(bind, Engine):
        runtime.tell(_AsConnectedBy(bind))
    if isinstance(target, sessionmaker):
        if runtime is not None:
            target.class_ = _routed(target.class_, runtime)
            _unbind(target.kw, runtime)
        return target
    if isinstance(target, async_sessionmaker):
        if runtime is not None:
            made = target.kw.pop("sync_session_class", None) or target.class_.sync_session_class
            target.class_ = threaded(target.class_)
            target.kw["sync_session_class"] = _routed(made, runtime)
            _unbind(target.kw, runtime)
        return target
    if isinstance(target, type) and issubclass(target, AsyncSession):
        if runtime is None:
            return target
        kind: Any = threaded(target)
        kind.sync_session_class = _routed(target.sync_session_class, runtime)
        return kind  # type: ignore[no-any-return]
    if isinstance(target, type) and issubclass(target, Session):
        return target if runtime is None else _routed(target, runtime)  # type: ignore[return-value]
    raise ConfigurationError(f"install cannot do anything with {target!r}", hint=_KINDS)


@dataclass(frozen=True)
class _AsConnectedBy:
    """What an application does to each new connection of its engine, such as its own SQL functions on SQLite."""

    engine: Engine

    def __call__(self, made: Engine) -> None:
        if made.dialect.name == self.engine.dialect.name:
            there = list(made.pool.dispatch.connect)  # those of every engine
            for listener in self.engine.pool.dispatch.connect:
                if listener not in there and (function := _of_application(listener)) is not None:
                    event.listen(made, "connect", function, once=_is_once(listener))


def _of_application(listener: Any) -> Any:
    """The application's function behind a listener as it is registered. None if it is SQLAlchemy's own.

    With `named=True` or `once=True` SQLAlchemy registers a function of its own around it, which knows it as `fn`.
    """
    if not str(getattr(listener, "__module__", "")).startswith("sqlalchemy."):
        return listener
    inner = inspect.getclosurevars(listener).nonlocals.get("fn") if inspect.isfunction(listener) else None
    function = None if inner is None else _of_application(inner)
    return function if function is None or _is_once(listener) else listener


def _is_once(listener: Any) -> bool:
    return getattr(listener, "__qualname__", "").startswith("only_once.")


def _runtime(
    bound: URL | None,
    sqlite: str | URL | None,
    postgres: str | URL | None,
    on_engine: Callable[[Engine], None] | None,
) -> Runtime | None:
    """What this process holds of the pair. None where no shadow is configured."""
    settings = shim_settings()
    given = [_text(url) for url in (sqlite, postgres) if url is not None]
    shadow = bare(settings.shadow_database_url)
    if len(given) == 2:
        pair = make_pair(*(parse_url(text, name="install") for text in given))
        # The side that the application was made for is the one that it wants as primary.
        sides = [side for side in Side if bound is None or same_database(bound, pair.url(side))]
        if not sides:
            assert bound is not None
            raise ConfigurationError(
                f"{shown(bound)} is neither side of the pair",
                hint="give install the databases under the addresses that the application has",
            )
        desired = pair.url(sides[0])
        settings = settings.model_copy(
            update={"shadow_database_url": _text(pair.url(side_of(desired).other))}
        )
        return _made(_text(desired), settings, on_engine)
    if given:
        raise ConfigurationError("install was given one side", hint="give both, or neither")
    if not shadow:
        return None
    own = _text(bound) if bound is not None else database_url()
    if own is None:
        raise ConfigurationError(
            "install does not know the application's database",
            hint="give sqlite= and postgres=, or a maker that has a bind, or set ST_DATABASE_URL",
        )
    return _made(own, settings, on_engine)


def _made(url: str, settings: ShimSettings, on_engine: Callable[[Engine], None] | None) -> Runtime:
    runtime = share(make_runtime(url, settings))
    if on_engine is not None:
        runtime.tell(on_engine)
    return runtime


def _text(url: str | URL) -> str:
    return url if isinstance(url, str) else as_text(url)


def _unbind(options: dict[str, Any], runtime: Runtime) -> None:
    bind = options.get("bind")
    if bind is not None and is_of_pair(bind, runtime):
        options.pop("bind")


def is_of_pair(bind: Any, runtime: Runtime) -> bool:
    """Whether an engine is one of a side of the pair.

    A connection never is: its owner has a transaction in mind.
    """
    engine = bind.sync_engine if isinstance(bind, AsyncEngine) else bind
    if runtime.pair is None or not isinstance(engine, Engine):
        return False
    known = _of_pair.setdefault(runtime, WeakKeyDictionary())
    if engine in known:
        return known[engine]
    sides = [runtime.pair.url(side) for side in Side]
    found = any(same_database(engine.url, url) for url in sides)
    if found or engine.dialect.name != "postgresql" or are_looked_up(engine.url, *sides):
        known[engine] = found
    return found


def _binds_of(session: Session) -> Any:
    """The databases that a session has for single models, under SQLAlchemy 2.1's name and 2.0's."""
    return getattr(session, "binds", None) or session.__dict__.get("_Session__binds")


def _routed(kind: type[Session], runtime: Runtime) -> type[Session]:
    """A subclass of a Session class whose sessions follow the pair."""
    own_choice = kind.get_bind is not Session.get_bind

    class Routed(RoutedSession, kind):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            given = [
                value
                for value in (*arguments, options.get("bind"))
                if isinstance(value, (Engine, Connection))
            ]
            if given and is_of_pair(given[0], runtime):
                arguments = tuple(value for value in arguments if value is not given[0])
                options.pop("bind", None)
                given = []
            super().__init__(*arguments, pair=runtime, elsewhere=bool(given), **options)
            if not given:
                begin_with_first_session(runtime)

        def get_bind(self, mapper: Any = None, **options: Any) -> Engine | Connection:
            if own_choice or options.get("bind") is not None or _binds_of(self):
                # The application may keep a model, or have a statement, in another database.
                try:
                    chosen = kind.get_bind(self, mapper, **options)
                except UnboundExecutionError:
                    chosen = None
                if chosen is not None and not is_of_pair(chosen, runtime):
                    return chosen
            options.pop("bind", None)
            return super().get_bind(mapper, **options)

    Routed.__name__ = Routed.__qualname__ = kind.__name__
    Routed.__doc__, Routed.__module__ = kind.__doc__, kind.__module__
    return Routed
