"""Strict mode beside a switch: every interleaving, and what each rule is there for."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.model.explorer import explore
from tests.model.strict_model import Rules, strict_model


def test_the_shadow_is_never_behind_and_never_promoted_with_a_phantom() -> None:
    found = explore(strict_model())
    assert not found.violation, found.counterexample()
    print(f"strict: {len(found.came_from)} states, {found.steps} steps")
    promoted = [state for state in found.came_from if state.coordinator == "committed"]
    assert {state.acked for state in promoted} == {0, 1, 2, 3}
    assert all(state.shadow == state.row == state.acked for state in promoted)
    assert "the read fails" in found.actions


FOUND = {
    "round_first": {"the shadow is behind an acknowledged transaction"},
    "read_through_writer": {
        "a row was announced to the new primary",
        "the shadow did not equal the primary when it was promoted",
    },
    "drain_settles": {"the shadow did not equal the primary when it was promoted"},
}


@pytest.mark.parametrize("rule", [field.name for field in fields(Rules)])
def test_without_the_rule(rule: str) -> None:
    found = explore(strict_model(Rules(**{rule: False})))
    assert found.violation in FOUND[rule]
    print(found.counterexample())
