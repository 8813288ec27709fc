"""Each thing that must not be is counted as what it is, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.burst.door.fake_broker_app import outcome as broker_outcome
from loadtests.burst.send.sender import DEDUPED
from loadtests.burst.verdict import AtBroker, Tally, at_broker, checks, tally
from loadtests.judge.oracle import Finding, Verdict
from loadtests.traffic.ledger import Attempt, Delivery, Outcome

ACK, UNKNOWN, FAILED, CUT_OFF = Outcome.ACKNOWLEDGED, Outcome.UNKNOWN, Outcome.FAILED, Outcome.CUT_OFF
NOTHING_AT_BROKER = AtBroker(0, 0, 0, 0, ())


def delivery(outcome: Outcome, *attempts: tuple[int | None, float], why: str | None = None) -> Delivery:
    made = tuple(Attempt(0.0, ms, status) for status, ms in attempts)
    return Delivery("m", "nested", outcome, made, 0.0, why=why)


def counts(found: Tally) -> dict[str, float]:
    """The counts that are not zero, besides the number of deliveries and their times."""
    values = vars(found)
    return {
        k: v for k, v in values.items() if v and k not in ("deliveries", "p50", "p99", "worst", "longest")
    }


@pytest.mark.parametrize(
    ("one", "stored", "expected"),
    [
        (delivery(ACK, (201, 10)), True, {"in_time": 1}),
        (delivery(ACK, (201, 2600)), True, {"late": 1}),
        (delivery(ACK, (503, 5), (201, 10)), True, {"refused": 1, "taken_later": 1}),
        (delivery(ACK, (503, 2700), (201, 10)), True, {"refused": 1, "taken_later": 1, "late": 1}),
        (
            delivery(ACK, (503, 5), (201, 10), why=DEDUPED),
            True,
            {"refused": 1, "taken_later": 1, "stored_though_refused": 1},
        ),
        # Another 5xx does not say that nothing was stored: a copy is right.
        (delivery(ACK, (502, 5), (201, 10), why=DEDUPED), True, {"other_5xx": 1, "taken_later": 1}),
        (delivery(UNKNOWN, (None, 3000)), False, {"unanswered": 1}),
        (delivery(UNKNOWN, (None, 3000)), True, {"unanswered": 1, "unanswered_stored": 1}),
        (delivery(FAILED, *[(503, 5)] * 4), False, {"refused": 1, "given_up": 1}),
        (
            delivery(FAILED, *[(503, 5)] * 4),
            True,
            {"refused": 1, "given_up": 1, "stored_though_refused": 1},
        ),
        (delivery(CUT_OFF), False, {"cut_off": 1}),
    ],
)
def test_a_delivery_is_counted_as_what_it_is(one: Delivery, stored: bool, expected: dict[str, int]) -> None:
    assert counts(tally([one], {"m"} if stored else set())) == expected


def test_times_are_those_of_answers_that_took_the_delivery_at_once() -> None:
    found = tally(
        [delivery(ACK, (201, ms)) for ms in (1, 2, 900)] + [delivery(ACK, (503, 5000), (201, 1))], set()
    )
    assert (found.p50, found.p99, found.worst) == (2, 900, 900)


def order(status: str, **values: Any) -> dict[str, Any]:
    return {"id": 1, "client_order_id": "k", "status": status, "mode": "AUTO", "error_message": None} | values


def call(*, placed: bool, order_id: int = 1, key: str = "k") -> dict[str, Any]:
    return {"order_id": order_id, "key": key, "placed": placed}


PLACED, REFUSED = call(placed=True), call(placed=False)


@pytest.mark.parametrize(
    ("row", "calls", "kind"),
    [
        (order("SENT"), [PLACED], None),
        (order("FAILED"), [REFUSED], None),
        (order("WAITING", mode="MANUAL"), [], None),
        (order("WAITING", error_message="not connected"), [], None),
        (order("SENT"), [PLACED, PLACED], "doubled"),
        (order("FAILED"), [REFUSED, PLACED], "doubled"),
        (order("SENT"), [], "lost"),
        (order("SENT"), [REFUSED], "lost"),
        (order("FAILED"), [PLACED], "lost"),
        (order("WAITING", mode="MANUAL"), [PLACED], "called but not noted"),
        (order("WAITING"), [], "forgotten"),
        (order("SENT"), [PLACED, call(placed=True, order_id=2)], "different"),
        (order("SENT"), [PLACED, call(placed=True, order_id=2, key="of another run")], None),
    ],
)
def test_an_order_is_held_against_its_calls(
    row: dict[str, Any], calls: list[dict[str, Any]], kind: str | None
) -> None:
    assert [finding.kind for finding in at_broker([row], calls).findings] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("row", "calls", "kinds"),
    [
        (order("SENDING"), [PLACED], []),
        (order("SENDING"), [], []),
        (order("WAITING"), [], []),
        (order("SENDING"), [PLACED, PLACED], ["doubled"]),
        (order("WAITING"), [PLACED], ["doubled"]),
        (order("SENT"), [], ["lost"]),
    ],
)
def test_what_a_fault_has_left_behind_may_be_open_and_was_asked_for_once(
    row: dict[str, Any], calls: list[dict[str, Any]], kinds: list[str]
) -> None:
    found = at_broker([row], calls, may_be_open=True)
    assert [finding.kind for finding in found.findings] == kinds
    assert found.open == (row["status"] != "SENT")


def test_a_connection_that_a_killed_process_has_cut_is_no_silence() -> None:
    cut, silent = delivery(ACK, (None, 40), (201, 10)), delivery(UNKNOWN, (None, 3000))
    counted = tally([cut, silent], {"m"}, kills=True)
    assert (counted.cut, counted.unanswered, counted.longest) == (1, 1, 3000)
    assert tally([cut, silent], {"m"}).unanswered == 2


def broken(
    one: Delivery, *, verdict: Verdict | None = None, failed: int = 0, answered: bool = True
) -> list[str]:
    counted = tally([one], {"m"})
    made = checks(counted, verdict or Verdict(), NOTHING_AT_BROKER, failed, answered=answered)
    return [check.what for check in made if not check.held]


def test_a_good_burst_breaks_nothing() -> None:
    assert broken(delivery(ACK, (201, 10))) == []
    assert broken(delivery(ACK, (503, 10), (201, 10))) == []


@pytest.mark.parametrize(
    ("one", "what"),
    [
        (delivery(ACK, (201, 2600)), "answered late"),
        (delivery(UNKNOWN, (None, 3000)), "unanswered"),
        (delivery(CUT_OFF), "writers that failed"),
    ],
)
def test_one_broken_promise_is_named(one: Delivery, what: str) -> None:
    assert broken(one) == [what]


def test_a_flood_may_go_unanswered_but_nothing_may_be_lost() -> None:
    assert broken(delivery(UNKNOWN, (None, 3000)), answered=False) == []
    lost = Verdict(findings=[Finding("lost", "sqlite", "m", "")])
    assert broken(delivery(ACK, (201, 10)), verdict=lost, answered=False) == ["lost"]


def test_a_writer_that_fails_fails_the_run() -> None:
    assert broken(delivery(ACK, (201, 10)), failed=1) == ["writers that failed"]


def test_the_fake_broker_refuses_by_key_alone_and_about_as_often_as_told() -> None:
    keys = [f"TV:NSE:SBIN:r-{n}" for n in range(5000)]
    assert [broker_outcome(key, 100) for key in keys] == [broker_outcome(key, 100) for key in keys]
    refused = sum(not broker_outcome(key, 100)[0] for key in keys)
    slow = sum(broker_outcome(key, 100)[1] for key in keys)
    assert 400 < refused < 600
    assert 60 < slow < 140
    assert all(broker_outcome(key, 0)[0] for key in keys)
