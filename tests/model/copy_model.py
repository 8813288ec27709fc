"""One key while it is copied: a writer on SQLite, a backfill worker and an applier, at every interleaving.

The row is its version: the log number of the change that made it, 0 as it was before capture, absent as
None. On PostgreSQL it is a tuple, so that a row written twice shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from tests.model.explorer import Model

Row = int | None
Steps = Iterator[tuple[str, "State"]]


@dataclass(frozen=True)
class Rules:
    """What keeps the copy right; each is switched off in one broken variant."""

    lock_before_chunk: bool = True  # the watermark is locked before the chunk is read
    shared_lock: bool = True  # the chunk holds a lock on the watermark at all
    clear_before_copy: bool = True  # what apply inserted ahead of the copy is deleted first
    apply_locks_first: bool = True  # an applier locks the watermark before it reads


class State(NamedTuple):
    """Both sides of one key, the lock on the watermark, and where the two processes stand."""

    seq: int = 0  # SQLite's last log number
    row: Row = 0  # the row on SQLite
    rows: tuple[int, ...] = ()  # the row on PostgreSQL
    position: int = 0  # the watermark
    copied: bool = False
    chunk: str = ""  # backfill: "", locked, read
    chunk_read: tuple[int, Row] = (0, None)
    applier: str = ""
    apply_read: tuple[int, Row] = (0, None)
    holds: str = ""  # who locks the watermark
    newest: int = 0  # observer: the latest state of the key that PostgreSQL has held
    wrong: str = ""


def copy_model(rules: Rules = Rules(), *, writes: int = 3, present: bool = True) -> Model[State]:
    """The copy of one key that is or is not there when capture begins, under so many changes."""
    return Model(State(row=0 if present else None), partial(steps, rules, writes), promises)


def promises(state: State) -> str:
    """P5 at every step, and P3 whenever the copy is done and the log drained."""
    if state.wrong:
        return state.wrong
    if len(state.rows) > 1:
        return "P3: the row is there twice"
    drained = state.copied and state.position == state.seq
    if drained and state.rows != _rows(state.row):
        return "P3: copied and drained, but the shadow differs"
    return ""


def _rows(row: Row) -> tuple[int, ...]:
    return () if row is None else (row,)


def steps(rules: Rules, writes: int, state: State) -> Steps:
    """Every step that is possible in a state."""
    if state.seq < writes:
        number = state.seq + 1
        yield "insert" if state.row is None else "update", state._replace(seq=number, row=number)
        if state.row is not None:
            yield "delete", state._replace(seq=number, row=None)
    yield from _backfill(rules, state)
    yield from _apply(rules, state)


def _backfill(rules: Rules, state: State) -> Steps:
    now = (state.seq, state.row)
    stopped = state._replace(chunk="", holds="" if state.holds == "chunk" else state.holds)
    match state.chunk:
        case "" if not state.copied:
            if not rules.lock_before_chunk:
                yield "the chunk is read before the lock", state._replace(chunk="early", chunk_read=now)
            elif not rules.shared_lock:
                yield "copy.chunk_read", state._replace(chunk="read", chunk_read=now)
            elif not state.holds:
                yield "the chunk locks the watermark", state._replace(chunk="locked", holds="chunk")
        case "early" if not state.holds:
            yield "the lock after the chunk", state._replace(chunk="read", holds="chunk")
        case "locked":
            yield "copy.chunk_read", state._replace(chunk="read", chunk_read=now)
            yield "backfill killed", stopped
        case "read":
            version, row = state.chunk_read
            rows = () if rules.clear_before_copy else state.rows
            yield (
                "copy.after_commit",
                _becomes(stopped._replace(copied=True, rows=rows + _rows(row)), version, "the copy"),
            )
            yield "backfill killed", stopped


def _apply(rules: Rules, state: State) -> Steps:
    now = (state.seq, state.row)
    stopped = state._replace(applier="", holds="" if state.holds == "apply" else state.holds)
    match state.applier:
        case "" if not rules.apply_locks_first:
            if state.seq > state.position:
                yield "apply reads before it locks", state._replace(applier="early", apply_read=now)
        case "" if not state.holds and state.seq > state.position:
            yield "apply.locked", state._replace(applier="locked", holds="apply")
        case "early" if not state.holds:
            yield "apply locks after it has read", state._replace(applier="read", holds="apply")
        case "locked":
            yield "apply.read", state._replace(applier="read", apply_read=now)
            yield "apply killed", stopped
        case "read":
            version, row = state.apply_read
            done = stopped._replace(rows=_rows(row), position=version)
            yield "apply.after_commit", _becomes(done, version, "apply")
            yield "apply killed", stopped


def _becomes(state: State, version: int, who: str) -> State:
    if version < state.newest:
        return state._replace(wrong=f"P5: {who} put an older state over a newer one")
    return state._replace(newest=version)
