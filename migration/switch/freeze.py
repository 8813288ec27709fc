"""The freeze of the offline copy: SQLite takes no writes while it is copied.

It is an attempt like a switch's, on both control rows, so that nobody else begins one and nobody lowers the
fence. Its deadline is a lease. A thread of the copy's own renews the lease through connections of its own. It
does so however long the copy waits for a limit, a pause or an index. When the process dies, any backend or
`recover` ends the attempt, and SQLite takes writes again. Nothing is lost by that, because capture is on. The
next copy waits for that lease to run out.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from app.db.common.errors import Refused, StaleAttempt, SwitchError
from app.db.common.urls import Side
from app.db.sides.control import (
    Control,
    begin_attempt,
    fence_sqlite,
    postgres_control,
    renew_postgres,
    renew_sqlite,
)
from app.db.sides.phase import actor, record
from app.db.sides.stores import Stores
from app.db.switch.attempt import end_attempt
from app.db.switch.recover import Recovered, recover

LEASE_S = 30.0
RENEW_S = 5.0


@contextmanager
def frozen(stores: Stores, open_more: Callable[[], Stores]) -> Iterator[None]:
    """Hold SQLite's fence up for the duration of a block.

    Args:
        open_more: opens other connections to the same pair, by which the lease is renewed.

    Raises:
        Refused: a switch is under way, or SQLite is not the primary.
        StaleAttempt: SQLite's row still carries an attempt that somebody left.
    """
    token = uuid.uuid4().hex
    _await_lease(stores)
    seen = _begin(stores, token)
    try:
        with stores.sqlite.write() as connection:
            fenced = fence_sqlite(connection, token, seen.epoch, time.time() + LEASE_S)
        if not fenced:
            raise StaleAttempt(
                "another attempt holds the SQLite file", hint="run st-migrate recover and repeat"
            )
        with _renewed(open_more, token):
            yield
    finally:
        end_attempt(stores, token, "the offline copy ended its freeze")


def _await_lease(stores: Stores) -> None:
    attempts = Retrying(
        retry=retry_if_result(lambda found: found is Recovered.WAIT),
        wait=wait_fixed(0.5),
        stop=stop_after_delay(LEASE_S + 5),
        retry_error_callback=lambda state: None,
    )
    attempts(recover, stores)


def _begin(stores: Stores, token: str) -> Control:
    """Put the freeze on the arbiter's record. Returns the record as it was before."""
    with stores.postgres.write() as connection:
        seen = postgres_control(connection)
        note = f"offline copy by {actor()}"
        begun = seen.primary is Side.SQLITE and begin_attempt(
            connection, seen, token, phase=seen.phase, seconds=LEASE_S, note=note
        )
        if begun:
            record(connection, "frozen for the offline copy", seen.epoch, {"attempt": token})
    if not begun:
        raise Refused("a switch or another copy is under way", hint="see st-migrate status")
    return seen


@contextmanager
def _renewed(open_more: Callable[[], Stores], token: str) -> Iterator[None]:
    """Renew the lease for the duration of a block. What fails once is tried again before the lease runs out."""
    ended = threading.Event()

    def renew() -> None:
        with open_more() as stores:
            while not ended.wait(RENEW_S):
                with suppress(SwitchError, psycopg.Error, sqlite3.Error):
                    _lease(stores, token)

    thread = threading.Thread(target=renew, name="st-freeze", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _lease(stores: Stores, token: str) -> None:
    with stores.postgres.write() as connection:
        renew_postgres(connection, token, LEASE_S)
    with stores.sqlite.write() as connection:
        renew_sqlite(connection, token, time.time() + LEASE_S)
