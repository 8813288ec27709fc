"""How much a commit asks of each database, in each mode."""

from __future__ import annotations

import gc
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest

from app.db.session import SessionLocal
from app.db.session.runtime import Runtime
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair, wait_until


def write(name: str) -> None:
    with SessionLocal() as session:
        session.add(Owner(name=name))
        session.commit()


@contextmanager
def no_other_thread_at_work(current: Runtime) -> Iterator[None]:
    """While a connection is traced, or not any more, no thread may use it.

    That thread would wait for the interpreter, to tell of its statement, and have the connection. This thread has the
    interpreter and waits for the connection.
    """
    if current.pair is None:
        yield
        return
    with current.replicator._rounds:
        if (warming := current.replicator._warming) is not None:
            warming.join()
        yield


def statements(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[], None], current: Runtime
) -> tuple[int, int]:
    """What this thread asks SQLite, apart from INSERTs and their triggers, and PostgreSQL."""
    lite: list[str] = []
    server: list[object] = []
    here = threading.get_ident()
    execute = psycopg.Cursor.execute

    def noted(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        if threading.get_ident() == here:
            server.append(query)
        return execute(cursor, query, *arguments, **options)

    def note(statement: str) -> None:
        if threading.get_ident() == here and not statement.startswith(("INSERT", "--")):
            lite.append(statement)

    opened = [found for found in gc.get_objects() if isinstance(found, sqlite3.Connection)]
    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", noted)
        with no_other_thread_at_work(current):
            trace(opened, note)
        work()
        with no_other_thread_at_work(current):
            trace(opened, None)
    return len(lite), len(server)


def trace(connections: Iterable[sqlite3.Connection], note: Callable[[str], None] | None) -> None:
    for connection in connections:
        with suppress(sqlite3.ProgrammingError):  # one of another test, or closed
            connection.set_trace_callback(note)


@pytest.mark.parametrize(
    ("mode", "most"),
    [("alone", (5, 0)), ("off", (6, 0)), ("async", (6, 0)), ("sync", (16, 3)), ("strict", (29, 13))],
)
def test_what_a_commit_asks_of_each_database(
    replicating: TestPair,
    backend: MakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    most: tuple[int, int],
) -> None:
    """A statement more costs each commit a percent; whoever adds one shall see it here, and say why."""
    current = backend(replicating, shadow=mode != "alone", dual_write="off" if mode == "alone" else mode)
    numbers = itertools.count()

    def is_cheap() -> bool:
        lite, server = statements(monkeypatch, lambda: write(f"counted {next(numbers)}"), current)
        return lite <= most[0] and server <= most[1]

    wait_until(is_cheap)  # the first ones open connections, and one that met another's round asks more
