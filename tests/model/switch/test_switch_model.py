"""The switch: every interleaving within the bounds, and what each rule of the protocol is there for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest

from tests.model.explorer import Explored, explore
from tests.model.switch.switch_model import recovered, switch_model
from tests.model.switch.switch_state import POSTGRES, SQLITE, Bounds, Rules, State, primary, promises

SMALL = Bounds(attempts=2)
MIGRATING = Bounds(writes=1, attempts=2, coordinators=1, migrations=1)


@pytest.fixture(scope="module")
def explored() -> Explored[State]:
    found = explore(switch_model())
    print(f"switch: {len(found.came_from)} states, {found.steps} steps")
    return found


def test_no_interleaving_breaks_a_promise(explored: Explored[State]) -> None:
    """P1 and P2, one side per epoch, shadow equal at promotion, no late commit, no false report."""
    assert not explored.violation, explored.counterexample()


def test_whatever_died_recovery_ends_with_one_writable_side(explored: Explored[State]) -> None:
    """P4: from every reachable state, with every process dead and the doubtful commit either way."""
    for state in explored.came_from:
        for after in recovered(state):
            assert not promises(after), after
            assert after.s_writable != after.p_writable, after
            assert after.s_epoch == after.p_epoch
            assert not after.s_attempt and not after.p_attempt
            assert after.s_writable == (primary(after.p_epoch) == SQLITE)


def test_a_migration_of_the_shadow_beside_a_switch_breaks_no_promise() -> None:
    found = explore(switch_model(bounds=MIGRATING))
    assert not found.violation, found.counterexample()
    print(f"switch with a migration: {len(found.came_from)} states, {found.steps} steps")
    assert found.actions >= {
        "a migration passes the shadow's fence",
        "an autocommit block",
        "the migration goes on behind the block",
        "the migration finds the sides switched",
        "the migration of the shadow commits",
        "migration killed",
    }
    for state in found.came_from:
        for after in recovered(state):
            assert after.s_writable != after.p_writable, after


def _ends(explored: Explored[State]) -> Iterator[State]:
    for state in explored.came_from:
        if state.p_epoch == state.s_epoch == 3 and state.s_writable and set(state.writers) == {"done"}:
            yield state


def test_there_and_back_again_is_reached_with_all_writes(explored: Explored[State]) -> None:
    """P6: switched twice, a write acknowledged on each side, both in the primary's row."""
    ends = [state for state in _ends(explored) if state.s_log and state.p_log]
    assert any(state.acked == state.s_row == 0b11 for state in ends)
    assert all(not state.acked & ~state.s_row for state in ends)


def test_every_step_of_the_protocol_takes_part(explored: Explored[State]) -> None:
    """A model in which a step can never happen would prove nothing about it."""
    assert explored.actions >= {
        "switch.begun",
        "switch.fenced",
        "switch.drained",
        "switch.checked",
        "switch.committing",
        "switch.committed",
        "switch.done",
        "apply.locked",
        "apply.read",
        "apply.after_commit",
        "a small round is carried",
        "a small round came too late",
        "release_alone",
        "recover ends the attempt",
        "follow",
        "StaleAttempt at the mark",
        "StaleAttempt at the commit",
        "the commit in doubt takes effect",
        "resolve",
        "end_attempt",
        "commit on sqlite",
        "commit on postgres",
        "hold",
    }


BOTH = "P2: both sides accept application writes"
UNEQUAL = "the shadow did not equal the primary when it was promoted"
FALSE_REPORT = "a committed switch was reported as aborted"
FOUND = {
    "committing_mark": BOTH,
    "token_guard": BOTH,
    "end_before_lowering": BOTH,
    "fence_check": UNEQUAL,
    "fence_waits": UNEQUAL,
    "fence_before_drain": UNEQUAL,
    "follow_under_lock": BOTH,
    "lock_before_read": UNEQUAL,
    "compare_standpoint": UNEQUAL,
    "resolve_under_lock": FALSE_REPORT,
    "resolve_by_token": FALSE_REPORT,
    "fence_by_transaction": BOTH,
    "no_abort_after_commit": FALSE_REPORT,
}


@pytest.mark.parametrize("rule", FOUND)
def test_without_the_rule(rule: str) -> None:
    bounds = MIGRATING if rule == "fence_by_transaction" else SMALL
    found = explore(switch_model(Rules(**{rule: False}), bounds))
    assert found.violation == FOUND[rule]
    print(found.counterexample())


def test_comparing_the_epochs_in_a_round_is_a_second_line_only() -> None:
    """The other rules suffice without it; it is there for rows that no protocol step can leave behind."""
    found = explore(switch_model(Rules(same_epoch=False), SMALL))
    assert not found.violation, found.counterexample()


def test_every_rule_is_tried() -> None:
    assert {field.name for field in fields(Rules)} == {*FOUND, "same_epoch"}


def test_sides_alternate() -> None:
    assert [primary(epoch) for epoch in (1, 2, 3)] == [SQLITE, POSTGRES, SQLITE]
