"""Profiles are consistent with themselves and with what exists."""

from __future__ import annotations

import subprocess
import sys

import pytest

from loadtests.stage.processes import REPO, python_env
from loadtests.traffic.profiles import PROFILES, RESENDS, TRADERS, WEBHOOKS, Profile

ALL = pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
MOST_DELIVERIES = 10_000


@ALL
def test_a_profile_says_why_it_exists_and_what_must_hold(profile: Profile) -> None:
    assert len(profile.why) > 30
    assert 0 < profile.bounds.p99_ms <= 3000, "beyond that TradingView has given up"
    assert 0 < profile.bounds.pause_ms <= 250, "what is promised"
    assert 0 < profile.bounds.lag_p99_ms <= 1000
    assert profile.bounds.p99_ms <= 1500 or profile.bounds.because or profile.mix.keys() != {WEBHOOKS}


@ALL
def test_a_profile_is_bounded(profile: Profile) -> None:
    assert all(step.seconds > 0 and step.users >= 0 for step in profile.steps)
    assert 0 < profile.peak <= 200
    assert sum(step.seconds * step.users for step in profile.steps) <= MOST_DELIVERIES
    assert profile.cycle_s <= (20 if profile.ci else 600), "a switch waits for the next peak"
    assert profile.ci or not profile.quick


@ALL
def test_steps_add_up_to_the_cycle_and_repeat(profile: Profile) -> None:
    at = 0.0
    for step in profile.steps:
        assert profile.users_at(at) == profile.users_at(at + 3 * profile.cycle_s) == step.users
        assert profile.users_at(at + step.seconds - 1e-6) == step.users
        at += step.seconds
    assert at == profile.cycle_s


@ALL
@pytest.mark.parametrize("seconds", [0.0, 3.3, 17.0, 1000.5])
def test_the_peak_is_where_it_is_announced(profile: Profile, seconds: float) -> None:
    wait = profile.until_peak(seconds)
    assert 0 <= wait <= profile.cycle_s
    assert profile.users_at(seconds + wait + 1e-6) == profile.peak


@ALL
def test_the_mix_names_user_classes_that_exist(profile: Profile) -> None:
    assert set(profile.mix) <= {WEBHOOKS, RESENDS, TRADERS}
    assert profile.mix and all(weight > 0 for weight in profile.mix.values())
    assert (profile.copies > 1) == (RESENDS in profile.mix)


@ALL
def test_a_scaled_profile_keeps_its_form(profile: Profile) -> None:
    small = profile.scaled(0.1)
    assert small.cycle_s == profile.cycle_s
    assert 1 <= small.peak <= max(1, profile.peak // 10 + 1)
    assert [step.users > 0 for step in small.steps] == [step.users > 0 for step in profile.steps]
    assert profile.scaled(1.0) == profile


def test_seeds_and_names_are_unique() -> None:
    assert len({profile.seed for profile in PROFILES.values()}) == len(PROFILES)
    assert all(name == profile.name for name, profile in PROFILES.items())


def test_locust_finds_the_user_classes() -> None:
    """In a process of its own: importing locust patches the standard library of the process."""
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(REPO / "loadtests" / "run" / "locustfile.py"),
        "--list",
    ]
    listed = subprocess.run(command, env=python_env({}), capture_output=True, text=True, check=True)
    assert {WEBHOOKS, RESENDS, TRADERS} <= set(listed.stdout.split())
