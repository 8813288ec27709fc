"""Turns: how many threads compute at a time."""

from __future__ import annotations

import threading

from app.services.shared.turns import Turns
from tests.support.pairs import wait_until


def test_no_more_threads_have_a_turn_than_there_are() -> None:
    turns, inside, leave = Turns(2), [], threading.Event()

    def work() -> None:
        with turns.taken():
            inside.append(None)
            leave.wait(60)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(inside) == 2)
    assert not turns._free.acquire(blocking=False)
    leave.set()
    for thread in threads:
        thread.join(60)
    assert len(inside) == 3


def test_a_turn_may_end_before_its_block() -> None:
    turns = Turns(1)
    with turns.taken():
        assert not turns._free.acquire(blocking=False)
        turns.give_back()
        assert turns._free.acquire(blocking=False)  # another's turn, which the end of the block leaves alone
    assert not turns._free.acquire(blocking=False)


def test_a_thread_without_a_turn_gives_none_back() -> None:
    turns = Turns(1)
    turns.give_back()
    assert turns._free.acquire(blocking=False)
    assert not turns._free.acquire(blocking=False)
