"""The explorer itself: it visits everything, finds what is wrong, and by the shortest way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.explorer import Model, TooLarge, explore


def _jumps(state: int) -> Iterator[tuple[str, int]]:
    """Two jugs' worth of arithmetic: one more, or twice as much, up to ten."""
    if state < 10:
        yield "more", state + 1
        yield "double", min(10, state * 2)


def test_every_reachable_state_is_visited() -> None:
    found = explore(Model(1, _jumps, lambda state: ""))
    assert set(found.came_from) == set(range(1, 11))
    assert found.actions == {"more", "double"}
    assert not found.violation and not found.counterexample()


def test_the_first_bad_state_comes_with_a_shortest_trace() -> None:
    found = explore(Model(1, _jumps, lambda state: "eight" if state == 8 else ""))
    assert found.bad == 8
    assert [state for _, state in found.trace(8)] == [2, 4, 8]
    assert found.counterexample().splitlines()[0] == "eight"


def test_a_model_that_is_too_large_is_refused() -> None:
    with pytest.raises(TooLarge):
        explore(Model(1, _jumps, lambda state: ""), limit=5)
