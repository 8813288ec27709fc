"""A burst is the same in every process that makes it, and its parts send each delivery once."""

from __future__ import annotations

import pytest

from loadtests.burst.meanwhile.faults import HAPPENS
from loadtests.burst.send.plan import (
    ASYNC,
    AUTO_USER,
    CUTOVER,
    FAULTS,
    MODES,
    MOST,
    POSTGRES,
    PROFILES,
    QUEUE,
    RESTART,
    SQLITE,
    SQLITE_LOCKED,
    SYNC,
    Burst,
    cases,
    share,
)


def test_all_are_due_within_the_second_and_in_order() -> None:
    dues = Burst(2000).dues()
    assert dues == sorted(dues)
    assert 0 <= dues[0] < dues[-1] < 1
    first_half = sum(due < 0.5 for due in dues)
    assert 800 < first_half < 1200


def test_a_burst_is_the_same_again_and_another_seed_is_another() -> None:
    assert Burst(100).plan("r") == Burst(100).plan("r")
    assert Burst(100).plan("r") != Burst(100, seed=1).plan("r")


def test_the_processes_together_send_each_delivery_once() -> None:
    planned = Burst(101).plan("r")
    parts = [one.signal.marker for number in range(3) for one in share(planned, number, 3)]
    assert sorted(parts) == sorted(one.signal.marker for one in planned)
    assert len(set(parts)) == 101


def test_a_share_of_the_orders_is_auto_and_sells_nothing() -> None:
    planned = Burst(1000, auto=0.1).plan("r")
    auto = [one for one in planned if one.signal.user == AUTO_USER]
    assert 60 < len(auto) < 140
    assert {one.signal.side for one in auto} == {"BUY"}
    expected = auto[0].shape.expected(auto[0].signal)
    assert expected is not None
    assert not {"mode", "status"} & expected["order"].keys()
    assert not [one for one in Burst(100, auto=0).plan("r") if one.signal.user == AUTO_USER]


def test_a_profile_is_played_in_every_mode_and_size_and_during_a_move() -> None:
    played = cases(PROFILES["bar_close"])
    calm = {(case.mode, case.count) for case in played if case.situation == "calm"}
    assert calm == {(mode, count) for mode in MODES for count in (500, 1000, 2000, 3000)}
    during = [(case.mode, case.situation, case.count) for case in played if case.situation != "calm"]
    assert during == [(SYNC, kind, 2000) for kind in ("backfill", "verify", "cutover")]
    queued = [(case.mode, case.situation, case.count) for case in played if case.dispatch == QUEUE]
    assert queued == [(mode, "calm", 500) for mode in MODES]


def test_each_fault_is_played_in_every_mode_in_which_it_can_happen() -> None:
    played = {(case.situation, case.mode) for case in cases(PROFILES["bar_close_faults"])}
    possible = {(fault, mode) for fault, modes in FAULTS.items() for mode in modes}
    assert played == possible | {(CUTOVER, ASYNC), (CUTOVER, SYNC)}
    assert HAPPENS.keys() == FAULTS.keys()
    (one,) = cases(
        PROFILES["bar_close_faults"], modes=[POSTGRES], counts=[7], situations=[RESTART, SQLITE_LOCKED]
    )
    assert (one.situation, one.mode, one.count) == (RESTART, POSTGRES, 7)


def test_what_the_caller_names_is_played_alone() -> None:
    profile = PROFILES["bar_close"]
    assert [c.name for c in cases(profile, modes=[POSTGRES], counts=[7], situations=["calm"])] == [
        "postgres, 7",
        "postgres, 7, queue",
    ]
    queued = cases(profile, modes=[SYNC], counts=[7], situations=[CUTOVER], dispatches=[QUEUE])
    assert [c.name for c in queued] == ["sync, cutover, 7, queue"]
    (one,) = cases(profile, modes=[ASYNC], counts=[7], situations=[CUTOVER])
    assert (one.mode, one.situation, one.count) == (ASYNC, CUTOVER, 7)


def test_little_time_means_few_bursts_and_no_flood() -> None:
    quick = cases(PROFILES["bar_close"], quick=True)
    assert {case.mode for case in quick} == {SQLITE, SYNC}
    assert len(quick) == 7
    flood = PROFILES["bar_close_flood"]
    assert flood.counts == (MOST,)
    assert flood.quick is None
    assert not flood.ci


@pytest.mark.parametrize("profile", PROFILES.values(), ids=str)
def test_no_burst_is_larger_than_the_bound(profile: object) -> None:
    assert all(case.count <= MOST for case in cases(profile))  # type: ignore[arg-type]
