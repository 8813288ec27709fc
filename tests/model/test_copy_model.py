"""Backfill, apply and a writer on one key: every interleaving, and what each rule is there for."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.model.copy_model import Rules, copy_model
from tests.model.explorer import explore


@pytest.mark.parametrize("present", [True, False])
def test_no_interleaving_overwrites_newer_data_and_all_converge(present: bool) -> None:
    found = explore(copy_model(writes=4, present=present))
    assert not found.violation, found.counterexample()
    print(f"copy, row {'there' if present else 'absent'}: {len(found.came_from)} states, {found.steps} steps")
    final = [state for state in found.came_from if state.copied and state.position == state.seq == 4]
    assert {state.row is None for state in final} == {True, False}


def test_from_every_state_the_copy_and_the_log_can_be_finished() -> None:
    model = copy_model()
    for state in explore(model).came_from:
        while not (state.copied and state.position == state.seq and not state.holds):
            useful = [
                following
                for action, following in model.steps(state)
                if action not in ("insert", "update", "delete") and "killed" not in action
            ]
            assert useful, f"nobody can go on from {state}"
            state = useful[0]


FOUND = {
    "lock_before_chunk": "P5: the copy put an older state over a newer one",
    "shared_lock": "P5: the copy put an older state over a newer one",
    "clear_before_copy": "P3: the row is there twice",
    "apply_locks_first": "P5: apply put an older state over a newer one",
}


@pytest.mark.parametrize("rule", [field.name for field in fields(Rules)])
def test_without_the_rule(rule: str) -> None:
    found = explore(copy_model(Rules(**{rule: False})))
    assert found.violation == FOUND[rule]
    assert found.bad is not None
    print(found.counterexample())
