"""What a fork does to locks, threads and connections, and how their owners come through it.

A child gets a copy of the memory and of the thread that forked, nothing else. A lock that another thread held
stays taken for ever. A background thread is gone, and a connection is shared with the parent. SQLite also
remembers per process which locks it holds on a file. The kernel does not give these locks to the child. So
whoever owns such things says here how they are put to rest before a fork, and made anew after it.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol
from weakref import WeakSet

_survivors: WeakSet[Survivor] = WeakSet()
_left_alone: list[Any] = []
_one = threading.RLock()  # two threads that fork at once take turns


class Survivor(Protocol):
    """Owns locks, threads or connections of a process that may fork."""

    def before_fork(self) -> None:
        """Close what can be closed, and let nobody open it again; other threads may be at work."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Make everything anew, touch nothing of the parent's."""


def survive(owner: Survivor) -> None:
    """Tell an owner of every fork from now on, for as long as it lives."""
    _survivors.add(owner)


def leave_alone(*things: Any) -> None:
    """Keep the parent's objects as they are: were the child to drop a connection, it would be closed."""
    _left_alone.extend(things)


def _tell(moment: str) -> None:
    for owner in list(_survivors):
        getattr(owner, moment)()


def _before() -> None:
    _one.acquire()
    _tell("before_fork")


def _after_in_parent() -> None:
    _tell("after_fork_in_parent")
    _one.release()


def _after_in_child() -> None:
    global _one
    _one = threading.RLock()
    _tell("after_fork_in_child")


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
