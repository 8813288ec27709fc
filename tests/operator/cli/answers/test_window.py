"""A switch within a window of time: it waits for gates without a fence, begins when they agree, and gives up in the end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from app.db.common.errors import ConfigurationError
from migration.switch import run as switching
from tests.operator.sides import Sides

AtStage = Callable[[str], Sides]
NOW = datetime(2026, 11, 28, 21, 0, tzinfo=timezone(timedelta(hours=5, minutes=30)))


def rows(sides: Sides) -> list[object]:
    """All that either side keeps of a switch."""
    return [
        read(f"SELECT * FROM {table}")
        for read in (sides.sqlite, sides.postgres)
        for table in ("st_control", "st_change_log")
    ]


def test_a_switch_waits_for_its_gates_and_leaves_no_trace_while_it_waits(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = at_stage("verified")
    sides.postgres("UPDATE st_verify SET mismatches = 1")
    before, waits = rows(sides), 0

    def waiting(seconds: float) -> None:
        nonlocal waits
        waits += 1
        assert 0 <= seconds <= switching.ASK_S
        assert rows(sides) == before and sides.writable("sqlite")
        if waits == 2:
            sides.postgres("UPDATE st_verify SET mismatches = 0")

    monkeypatch.setattr(switching, "sleep", waiting)
    answer = sides.run("cutover", "--within", "1h")
    assert (answer.outcome, waits) == ("moved", 2)
    assert answer.err.count("not yet: verify") == 1


def test_a_switch_gives_up_at_the_end_of_its_window(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = at_stage("copied")
    monkeypatch.setattr(switching, "sleep", lambda seconds: None)
    before = rows(sides)
    answer = sides.run("cutover", "--within", "2s")
    assert (answer.code, answer.outcome) == (1, "gave_up")
    assert (
        answer.data["reasons"][0].startswith("verify: ")
        and "the old primary takes writes" in answer.data["message"]
    )
    assert rows(sides) == before and sides.writable("sqlite")
    assert sides.run("run", "--within", "2s").code == 2
    # PostgreSQL that is away is waited for, too.
    sides.url = sides.url.replace("127.0.0.1", "127.0.0.9")
    assert sides.run("cutover", "--at", "2020-01-01T00:00").code == 2


def test_a_window_does_not_stop_the_application_again_and_again(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides, calls = at_stage("verified"), tmp_path / "calls"
    monkeypatch.setattr(switching, "sleep", lambda seconds: None)
    answer = sides.run(
        "cutover", "--within", "1h", "--stop", f"echo stop >> {calls}; exit 3", "--start", f"echo start >> {calls}"
    )  # fmt: skip
    assert answer.code == 1 and "was not stopped" in answer.data["message"]
    assert calls.read_text(encoding="utf-8").split().count("stop") == 1
    assert sides.writable("sqlite")


@contextmanager
def _clocks(zone: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


def _opens_and_closes(at: str, within: str, now: datetime) -> list[str]:
    """When a window opens and closes, in UTC."""
    found = switching.window(at, within, 60, now)
    assert found is not None
    both = [
        datetime.fromtimestamp(moment, UTC).replace(tzinfo=None) for moment in (found.opens, found.closes)
    ]
    return [moment.isoformat(timespec="seconds" if moment.second else "minutes") for moment in both]


@pytest.fixture
def _in_india() -> Iterator[None]:
    with _clocks("IST-5:30"):
        yield


@pytest.mark.usefixtures("_in_india")
@pytest.mark.parametrize(
    ("at", "within", "opens", "closes"),
    [
        ("22:30", "", "2026-11-28T17:00", "2026-11-28T17:01"),
        ("03:00", "1h30m", "2026-11-28T21:30", "2026-11-28T23:00"),
        ("2026-12-01T10:00+00:00", "45s", "2026-12-01T10:00", "2026-12-01T10:00:45"),
        ("", "90m", "2026-11-28T15:30", "2026-11-28T17:00"),
        ("", "22:00-23:30", "2026-11-28T16:30", "2026-11-28T18:00"),
        ("", "20:00-22:00", "2026-11-28T15:30", "2026-11-28T16:30"),
        ("", "23:00-02:00", "2026-11-28T17:30", "2026-11-28T20:30"),
    ],
)
def test_what_a_window_means(at: str, within: str, opens: str, closes: str) -> None:
    assert _opens_and_closes(at, within, NOW) == [opens, closes]


@pytest.mark.usefixtures("_in_india")
@pytest.mark.parametrize(
    ("at", "within"),
    [
        ("noon", ""),
        ("", "soon"),
        ("", "0"),
        ("25:00", ""),
        ("22:00", "22:00-23:00"),
        ("2026-11-28T20:59+05:30", ""),
        ("", "1h-2h"),
        ("20:59", ""),  # a moment ago, not tomorrow
        ("", "19:00-20:30"),
        ("", "22:00-22:00"),
    ],
)
def test_a_window_that_cannot_be_meant(at: str, within: str) -> None:
    with pytest.raises(ConfigurationError):
        switching.window(at, within, 60, NOW)


@pytest.fixture
def _in_berlin() -> Iterator[None]:
    """Clocks go forward at 02:00 on 2026-03-29, and back at 03:00 on 2026-10-25."""
    with _clocks("CET-1CEST,M3.5.0,M10.5.0/3"):
        yield


@pytest.mark.usefixtures("_in_berlin")
@pytest.mark.parametrize(
    ("now", "at", "within", "opens", "closes"),
    [
        ("2026-03-28T22:00", "02:30", "", "2026-03-29T01:30", "2026-03-29T01:31"),  # 03:30 is shown
        ("2026-03-28T23:30", "", "23:00-04:00", "2026-03-28T22:30", "2026-03-29T02:00"),
        ("2026-10-24T22:00", "02:30", "", "2026-10-25T00:30", "2026-10-25T00:31"),
        ("2026-10-24T23:30", "", "23:00-02:00", "2026-10-24T21:30", "2026-10-25T00:00"),
        ("2026-10-24T23:30", "", "02:45-03:15", "2026-10-25T00:45", "2026-10-25T02:15"),
        ("2026-10-25T04:00", "01:30", "2m", "2026-10-26T00:30", "2026-10-26T00:32"),
        ("2026-11-01T23:59:59", "00:00", "", "2026-11-01T23:00", "2026-11-01T23:01"),
    ],
)
def test_a_window_across_a_change_of_the_clocks(
    now: str, at: str, within: str, opens: str, closes: str
) -> None:
    assert _opens_and_closes(at, within, datetime.fromisoformat(now).astimezone()) == [opens, closes]


@pytest.mark.usefixtures("_in_berlin")
@pytest.mark.parametrize(
    ("now", "at", "ago", "following"),
    [
        ("2026-03-29T03:10", "01:50", "20 min", "2026-03-30T01:50:00+02:00"),
        ("2026-10-25T02:45+02:00", "02:30", "15 min", "2026-10-25T02:30:00+01:00"),
        ("2026-10-25T02:15+01:00", "02:30", "45 min", "2026-10-25T02:30:00+01:00"),
        ("2026-11-02T00:20", "23:50", "30 min", "2026-11-02T23:50:00+01:00"),
    ],
)
def test_a_time_that_has_just_passed_is_no_mistake_of_the_clocks(
    now: str, at: str, ago: str, following: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        switching.window(at, "", 60, datetime.fromisoformat(now).astimezone())
    assert f"was {ago}" in str(refused.value) and following in (refused.value.hint or "")


@pytest.mark.parametrize("says", [0, 7])
def test_no_hook_keeps_a_stopped_application_away(
    at_stage: AtStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: int
) -> None:
    order = tmp_path / "order"
    for moment, code in (("BEFORE_FENCE", says), ("AFTER_PROMOTE", 0), ("ON_ABORT", 0)):
        note = f"echo {moment} >>{order}; exit {code}"
        monkeypatch.setenv(f"ST_HOOK_{moment}", shlex.join(["sh", "-c", note]))
    sides = at_stage("verified")
    answer = sides.run("cutover", "--stop", f"echo stop >>{order}", "--start", f"echo start >>{order}")
    assert answer.code == (0 if says == 0 else 1)
    told = ["stop", "start", "AFTER_PROMOTE"] if says == 0 else ["ON_ABORT"]
    assert order.read_text().split() == ["BEFORE_FENCE", *told]
