"""A small explicit-state explorer: every state that a model can reach, and the shortest way to a bad one.

A model is an initial state (any hashable value), a function that yields every step possible in a state as
(action, next state), and a function that says what is wrong with a state. States are visited breadth
first, so the first bad state comes with a shortest trace.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Model(Generic[S]):
    """What to explore.

    `steps` yields (action, next state); `wrong` gives the violated promise of a state, or "".
    """

    initial: S
    steps: Callable[[S], Iterator[tuple[str, S]]]
    wrong: Callable[[S], str]


@dataclass
class Explored(Generic[S]):
    """What was found: all states with the step that first led there, and the first violation, if any."""

    came_from: dict[S, tuple[S | None, str]]
    steps: int = 0
    violation: str = ""
    bad: S | None = None
    actions: set[str] = field(default_factory=set)

    def trace(self, state: S) -> list[tuple[str, S]]:
        """The actions that lead from the initial state to this one, each with the state after it."""
        path: list[tuple[str, S]] = []
        here: S | None = state
        while here is not None:
            before, action = self.came_from[here]
            path.append((action, here))
            here = before
        return path[::-1][1:]

    def counterexample(self) -> str:
        """The violated promise and the shortest trace to it, one action a line."""
        if self.bad is None:
            return ""
        lines = [f"  {n}. {action}" for n, (action, _) in enumerate(self.trace(self.bad), 1)]
        return "\n".join([self.violation, *lines, f"  -> {self.bad}"])


class TooLarge(Exception):
    """The model has more states than the caller is prepared to visit."""


def explore(model: Model[S], *, limit: int = 2_000_000) -> Explored[S]:
    """Visit every reachable state, or stop at the first bad one.

    Raises:
        TooLarge: there are more than `limit` states.
    """
    collecting = gc.isenabled()
    gc.disable()  # all that is made here is kept: to look for garbage in it takes a sixth of the time
    try:
        return _explored(model, limit)
    finally:
        if collecting:
            gc.enable()


def _explored(model: Model[S], limit: int) -> Explored[S]:
    found: Explored[S] = Explored({model.initial: (None, "")})
    came_from = found.came_from
    frontier = [model.initial]
    while frontier:
        reached: list[S] = []
        for state in frontier:
            for action, following in model.steps(state):
                found.steps += 1
                found.actions.add(action)
                if following in came_from:
                    continue
                came_from[following] = (state, action)
                if violation := model.wrong(following):
                    found.violation, found.bad = violation, following
                    return found
                reached.append(following)
        if len(came_from) > limit:
            raise TooLarge(f"more than {limit} states")
        frontier = reached
    return found
