"""Load profiles as data: what is sent, how it rises and falls, what must hold, and why the profile exists.

A profile is a cycle of steps that repeats for as long as the load is needed. One simulated user sends
about one request per second, so that "users" reads as "requests per second" as long as answers are quick.
Bounds are for two cores that are shared with the senders and both databases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

WEBHOOKS, RESENDS, TRADERS = "WebhookUser", "ResendUser", "TraderUser"
ONLY_WEBHOOKS: Mapping[str, int] = MappingProxyType({WEBHOOKS: 1})


@dataclass(frozen=True)
class Step:
    """So many users for so many seconds."""

    seconds: float
    users: int


@dataclass(frozen=True)
class Bounds:
    """What must hold; a run that goes beyond any of these has failed.

    `p99_ms`: answers outside of a switch; `pause_ms`: the tool's own figure per switch; `lag_p99_ms`: age
    of the oldest change that the shadow lacks, over all looks while replicating and no command for a switch
    runs; `lag_switch_ms`: the highest while one runs, from its call to its end. What was lost, doubled,
    altered, failed or left unanswered has no bound: there must be none, always. The reasons that hold for
    all profiles are in `loadtests.judge.bounds`; `because` says what is special about this one.
    """

    p99_ms: float
    pause_ms: float = 250.0
    lag_p99_ms: float = 50.0
    lag_switch_ms: float = 1000.0
    because: str = ""


@dataclass(frozen=True)
class Profile:
    """One kind of load.

    `mix`: weights of the user classes; `skew`: Zipf exponent of users and symbols; `copies`: how often a
    resending user sends each delivery; `background`: whether the application's own background writer
    (candles and the job queue) runs as well; `ci`: short enough for every change; `quick`: one of the few
    that are played when there is little time.
    """

    name: str
    why: str
    seed: int
    steps: tuple[Step, ...]
    bounds: Bounds
    mix: Mapping[str, int] = field(default_factory=lambda: ONLY_WEBHOOKS)
    skew: float = 1.1
    copies: int = 1
    background: bool = False
    ci: bool = True
    quick: bool = False

    @property
    def cycle_s(self) -> float:
        """Length of one cycle in seconds."""
        return sum(step.seconds for step in self.steps)

    @property
    def peak(self) -> int:
        """The most users of any step."""
        return max(step.users for step in self.steps)

    def scaled(self, factor: float) -> Profile:
        """The same profile with so many times the users; a step that has users keeps at least one."""
        steps = tuple(Step(step.seconds, math.ceil(step.users * factor)) for step in self.steps)
        return replace(self, steps=steps)

    def users_at(self, seconds: float) -> int:
        """Users so many seconds after the start, the cycle repeating."""
        left = seconds % self.cycle_s
        for step in self.steps:
            if left < step.seconds:
                return step.users
            left -= step.seconds
        return self.steps[-1].users

    @property
    def peak_s(self) -> float:
        """Length of the highest step."""
        return max(step.seconds for step in self.steps if step.users == self.peak)

    def until_peak(self, seconds: float) -> float:
        """Seconds from a moment after the start until the next begin of the highest step; 0 if all are even."""
        if all(step.users == self.peak for step in self.steps):
            return 0.0
        begin = 0.0
        for step in self.steps:
            if step.users == self.peak:
                break
            begin += step.seconds
        return (begin - seconds) % self.cycle_s


_ALL = (
    Profile(
        name="steady",
        why="The reference that every other profile is compared with: an even stream well below the limit.",
        seed=101,
        steps=(Step(20, 20),),
        bounds=Bounds(p99_ms=1500),
    ),
    Profile(
        name="market_open",
        why="At 09:15 the alerts of every strategy fire together; a switch in market hours meets this.",
        seed=102,
        steps=(Step(4, 5), Step(4, 60), Step(3, 30), Step(3, 10)),
        bounds=Bounds(
            p99_ms=2500, because="Sixty arrive within one second, and the last of them waits for all."
        ),
        quick=True,
    ),
    Profile(
        name="spike",
        why="A second of ten times the usual load: queues form faster than they drain, and time-outs add up.",
        seed=103,
        steps=(Step(5, 5), Step(2, 80), Step(5, 5)),
        bounds=Bounds(
            p99_ms=2500,
            lag_p99_ms=1000,
            because="More than two cores carry, on purpose: the queue of that second is in most answers and in the lag.",
        ),
    ),
    Profile(
        name="soak",
        why="What only time shows: growing logs, memory, handles, a trim that does not keep up.",
        seed=104,
        steps=(Step(240, 15),),
        bounds=Bounds(p99_ms=1500),
        ci=False,
    ),
    Profile(
        name="slow_drip",
        why="Seconds of silence between deliveries: stale connections, and a last change that nothing follows.",
        seed=105,
        steps=(Step(7, 0), Step(2, 2)),
        bounds=Bounds(p99_ms=1500),
    ),
    Profile(
        name="resend_storm",
        why="After an outage every sender repeats what it has: each delivery arrives three times at once.",
        seed=106,
        steps=(Step(4, 4), Step(4, 20), Step(3, 8)),
        bounds=Bounds(
            p99_ms=2500,
            lag_p99_ms=500,
            because="Three times as many requests as users, all at once: the lag is the time they wait for a processor.",
        ),
        mix=MappingProxyType({RESENDS: 1}),
        copies=3,
    ),
    Profile(
        name="mixed",
        why="A whole day's kinds of work at once: webhooks, reads, order edits, candles and the job queue.",
        seed=107,
        steps=(Step(6, 15), Step(5, 30)),
        bounds=Bounds(p99_ms=2500),
        mix=MappingProxyType({WEBHOOKS: 2, RESENDS: 1, TRADERS: 2}),
        skew=1.4,
        copies=2,
        background=True,
        quick=True,
    ),
)
PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _ALL})
