"""Strict mode and a switch: a writer that announces its row to the shadow, an applier and a coordinator.

One row, by version. The writer's transaction may be ended by the server without the writer noticing; then
nothing of it blocks a fence any more. The check inside the fence is left out: it compares logged keys, and
what a rolled back transaction announced was never logged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from tests.model.explorer import Model

Steps = Iterator[tuple[str, "State"]]


@dataclass(frozen=True)
class Rules:
    """What keeps strict mode right; each is switched off in one broken variant."""

    round_first: bool = True  # what was committed before is applied before the announcement
    read_through_writer: bool = True  # rows come from the writer's own transaction, under the shadow's lock
    drain_settles: bool = True  # the drain inside the fence sets back whatever nobody committed


class State(NamedTuple):
    """The row on both sides, the shadow's lock, and where writer and coordinator stand."""

    row: int = 0  # committed on the primary
    seen: int = 0  # the watermark: the version that was applied last
    shadow: int = 0
    pending: int = 0  # the version that st_pending announces
    writer: str = ""
    alive: bool = False  # the writer's transaction is in flight and blocks a fence
    announcing: bool = False  # the shadow's lock is the writer's
    coordinator: str = ""
    acked: int = 0
    wrong: str = ""


def strict_model(rules: Rules = Rules(), *, writes: int = 3) -> Model[State]:
    """So many strict transactions, one after the other, and a switch at any moment."""
    return Model(State(), partial(steps, rules, writes), promises)


def promises(state: State) -> str:
    """Strict mode's own promise; what a switch must find is noted as it happens."""
    if state.wrong:
        return state.wrong
    return "the shadow is behind an acknowledged transaction" if state.acked > state.shadow else ""


def steps(rules: Rules, writes: int, state: State) -> Steps:
    """Every step that is possible in a state."""
    yield from _writer(rules, writes, state)
    if not state.announcing:
        yield from _apply(state)
        yield from _coordinator(rules, state)
    elif state.coordinator:
        yield "abort", state._replace(coordinator="")


def _writer(rules: Rules, writes: int, state: State) -> Steps:
    gone = state._replace(writer="", alive=False, announcing=False)
    if state.alive:
        yield "the server ends the transaction", state._replace(alive=False)
    if state.writer:
        yield "writer killed", gone
    match state.writer:
        case "" if state.row < writes and state.coordinator in ("", "begun"):
            yield "admit", state._replace(writer="open", alive=True)
        case "open" if not rules.round_first:
            yield "no round first", state._replace(writer="ready")
        case "open" if not state.announcing:
            yield "a round first", _round(state)._replace(writer="ready")
        case "ready" if not state.announcing:
            yield "the shadow is locked", state._replace(writer="locked", announcing=True)
        case "locked" if state.alive or not rules.read_through_writer:
            yield "rows are read", state._replace(writer="read")
        case "locked":
            yield "the read fails", gone
        case "read":
            version = state.row + 1
            announced = state._replace(writer="announced", announcing=False, shadow=version, pending=version)
            if state.coordinator == "committed":
                announced = announced._replace(wrong="a row was announced to the new primary")
            yield "strict.announced", announced
        case "announced" if state.alive:
            yield "commit on the primary", gone._replace(row=state.row + 1, acked=state.row + 1)


def _round(state: State) -> State:
    """A round: logged changes, and announced keys whose transaction has ended."""
    logged, ended = state.row > state.seen, state.pending and not state.alive
    if logged or ended:
        return state._replace(shadow=state.row, seen=state.row, pending=0 if ended else state.pending)
    return state


def _logged_only(state: State) -> State:
    """A round that does not know, or does not ask, whether the announced transaction has ended."""
    return state._replace(shadow=state.row if state.row > state.seen else state.shadow, seen=state.row)


def _apply(state: State) -> Steps:
    if state.coordinator != "committed" and _round(state) != state:
        yield "apply.after_commit", _round(state)
        if state.pending > state.row:  # SQLite cannot tell yet that a rolled back transaction has ended
            yield "apply leaves what was announced", _logged_only(state)


def _coordinator(rules: Rules, state: State) -> Steps:
    match state.coordinator:
        case "":
            yield "switch.begun", state._replace(coordinator="begun")
        case "begun" if not state.alive:
            yield "switch.fenced", state._replace(coordinator="fenced")
        case "fenced":
            drained = state._replace(shadow=state.row, seen=state.row, pending=0)
            if not rules.drain_settles:
                drained = _logged_only(state)
            yield "switch.drained", drained._replace(coordinator="drained")
        case "drained":
            moved = state._replace(coordinator="committed")
            if state.shadow != state.row:
                moved = moved._replace(wrong="the shadow did not equal the primary when it was promoted")
            yield "switch.committed", moved
    if state.coordinator not in ("", "committed"):
        yield "abort", state._replace(coordinator="")
