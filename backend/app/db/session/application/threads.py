"""AsyncSession over a pair: every awaited operation runs in a thread, so the event loop goes on.

A session of a pair waits for what no driver knows of. This may be the fence during a switch, the line at
SQLite's write lock, or the shadow in sync mode. So the operation as a whole goes to a thread, with the plain
drivers of both sides. SQLAlchemy hands each operation of an AsyncSession to a function, `greenlet_spawn`.
Here the same methods get another function in its place. A thread is taken for an operation and not for a
session. Operations that go on with a transaction have threads of their own. So sessions that wait for a lock
or a connection, however many, never keep its holder from committing.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import FunctionType
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from app.db.session.routed import RoutedSession

T = TypeVar("T")
MOST_THREADS = 512  # of each kind; they are made as they are needed
_SPAWN = "greenlet_spawn"
# By process, as threads do not survive a fork, and by whether their operations go on with a transaction.
_executors: dict[tuple[int, bool], ThreadPoolExecutor] = {}


def _executor(goes_on: bool) -> ThreadPoolExecutor:
    which = os.getpid(), goes_on
    if which not in _executors:
        _executors[which] = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="st-session")
    return _executors[which]


def _goes_on(function: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a session's operation finds it in a transaction that has taken a connection already."""
    owner = getattr(function, "__self__", None)
    sessions = (owner, getattr(owner, "session", None), *arguments[:1])
    return any(isinstance(item, RoutedSession) and item.is_routed for item in sessions)


async def in_thread(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a function in a thread, with this task's context; a cancelled task waits for its end.

    Two threads must not use a session at a time. So an operation that has begun is never left alone, however
    often the task is cancelled. A cancel scope of anyio cancels again and again.
    """
    options.pop("_require_await", None)  # meant for SQLAlchemy's own function
    call = functools.partial(contextvars.copy_context().run, function, *arguments, **options)
    work = asyncio.get_running_loop().run_in_executor(_executor(_goes_on(function, arguments)), call)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        raise


def threaded(kind: type[AsyncSession]) -> type[AsyncSession]:
    """A subclass of an AsyncSession class whose operations run in threads."""
    transaction = _with_methods(AsyncSessionTransaction, AsyncSessionTransaction, {})
    made = _with_methods(kind, AsyncSession, {AsyncSessionTransaction.__name__: transaction})
    made.bind = property(_bind, lambda session, value: vars(session).update(own_bind=value))
    return made


def _bind(session: Any) -> Any:
    """What an application asks for the dialect or the URL: the engine that the session has now."""
    return session.own_bind if session.sync_session._elsewhere else session.sync_session.bind


def _with_methods(kind: type[Any], base: type[Any], replaced: dict[str, Any]) -> type[Any]:
    """A subclass with copies of all methods, down to `base`, that ask for a greenlet or make what is replaced."""
    names = {_SPAWN, *replaced}
    methods: dict[str, Any] = {}
    for owner in reversed(kind.__mro__[: kind.__mro__.index(base) + 1]):
        for name, method in vars(owner).items():
            if isinstance(method, FunctionType) and names & set(method.__code__.co_names):
                methods[name] = _copy(method, {_SPAWN: in_thread, **replaced})
    return type(kind.__name__, (kind,), {"__doc__": kind.__doc__, "__module__": kind.__module__, **methods})


def _copy(method: FunctionType, replaced: dict[str, Any]) -> FunctionType:
    """A function that sees other things under some global names."""
    copied = FunctionType(
        method.__code__,
        {**method.__globals__, **replaced},
        method.__name__,
        method.__defaults__,
        method.__closure__,
    )
    copied.__kwdefaults__ = method.__kwdefaults__
    functools.update_wrapper(copied, method)
    return copied
