"""How long a thread may wait for a database: until the request that it serves has to be answered.

A sender of webhooks gives up after 3 s. A session inside a request may wait for a lock, a connection, the
fence or an answer. All these waits end at one moment, counted from the request's arrival. The HTTP middleware
sets that moment (`session.application.http.install`). A context variable carries it into the threads that
serve the request. What runs when the answer has been sent, or was never part of a request, may wait for as
long as the settings allow.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FLOOR_S = 0.1  # what a wait gets at least: a request that was slow itself may still use a free database
_WORKER = "AnyIO worker thread"  # the threads in which Starlette runs a request's synchronous code


class Request:
    """One request: when it has to be answered, and whether it has been."""

    __slots__ = ("answered", "until")

    def __init__(self, until: float | None) -> None:
        self.until = until
        self.answered = False


_request: ContextVar[Request | None] = ContextVar("st_request", default=None)
_known = threading.Event()  # whether this process has a middleware that tells requests from other work


def requests_are_known() -> None:
    """This process says what a request is, see `serving`; said once, when the application is made."""
    _known.set()


@contextmanager
def serving(budget_ms: int) -> Iterator[Request]:
    """Within this block a request is served that arrived now.

    Args:
        budget_ms: when it has to be answered. 0: no matter when.
    """
    request = Request(time.monotonic() + budget_ms / 1000 if budget_ms else None)
    token = _request.set(request)
    try:
        yield request
    finally:
        request.answered = True
        _request.reset(token)


@contextmanager
def unhurried() -> Iterator[None]:
    """Within this block waits are not bounded by the request, for an endpoint that may take its time."""
    token = _request.set(None)
    try:
        yield
    finally:
        _request.reset(token)


def in_request() -> bool:
    """Whether somebody waits for an answer from this thread.

    Where no middleware says so, a thread of the kind that serves requests counts as one.
    """
    request = _request.get()
    if request is not None:
        return not request.answered
    return not _known.is_set() and _looks_like_a_server()


def left() -> float | None:
    """Seconds that a wait in this thread may take at most, never less than `FLOOR_S`; None: no bound."""
    request = _request.get()
    if request is None or request.answered or request.until is None:
        return None
    return max(FLOOR_S, request.until - time.monotonic())


def at_most(seconds: float) -> float:
    """The shorter of a limit and of what the request leaves."""
    if _request.get() is None:  # the short way: each transaction asks this several times
        return seconds
    remaining = left()
    return seconds if remaining is None else min(seconds, remaining)


def _looks_like_a_server() -> bool:
    if threading.current_thread().name.startswith(_WORKER):
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
