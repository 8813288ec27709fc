"""What a burst sends and when: pure data, so that every sender process makes the same out of the same seed.

A bar closes, and every strategy fires within the same second. Most alerts make a MANUAL order. The alerts of one
user are AUTO: their orders go to a broker, which is a fake one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from loadtests.traffic.payloads import SHAPES
from loadtests.traffic.shapes import Json, Shape, Signal
from loadtests.traffic.signals import Signals

USERS = ("bar_one", "bar_two", "bar_three", "bar_four", "bar_five", "bar_six")
AUTO_USER = "bar_auto"
INLINE, QUEUE = DISPATCHES = ("inline", "queue")
BROKER = "angelone"  # only a user's own connection counts there, so that MANUAL sales ask no broker
SQLITE, ASYNC, SYNC, POSTGRES = "sqlite", "async", "sync", "postgres"
MODES = (SQLITE, ASYNC, SYNC, POSTGRES)
CALM = "calm"
BACKFILL, VERIFY, CUTOVER = COMMANDS = ("backfill", "verify", "cutover")
RESTART, WORKER_KILLED, BACKEND_KILLED = "restart", "worker_killed", "backend_killed"
POSTGRES_KILLED, POSTGRES_STALLED, POSTGRES_LOCKED = "postgres_killed", "postgres_stalled", "postgres_locked"
SQLITE_LOCKED, SHADOW_LATE = "sqlite_locked", "shadow_late"
# Each fault with the modes in which it can happen.
FAULTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        RESTART: MODES,
        WORKER_KILLED: MODES,
        BACKEND_KILLED: MODES,
        POSTGRES_KILLED: (ASYNC, SYNC, POSTGRES),
        POSTGRES_STALLED: (ASYNC, SYNC, POSTGRES),
        POSTGRES_LOCKED: (ASYNC, SYNC, POSTGRES),
        SQLITE_LOCKED: (SQLITE, ASYNC, SYNC),
        SHADOW_LATE: (ASYNC, SYNC),
    }
)
KILLS = frozenset({WORKER_KILLED, BACKEND_KILLED})  # what was under way in a killed process has no answer
SITUATIONS = (CALM, *COMMANDS, *FAULTS)
MOST = 20_000
STORED = tuple(shape for shape in SHAPES if shape.stored)


class AutoShape(Shape):
    """Mode and status of an AUTO order depend on its broker, and are judged by the broker's calls."""

    def expected(self, signal: Signal) -> dict[str, Json] | None:
        """Columns of the alert row and of the order row that do not depend on the broker."""
        found = super().expected(signal)
        if found is not None:
            found["order"] = {k: v for k, v in found["order"].items() if k not in ("mode", "status")}
            found["order"]["broker_name"] = BROKER
        return found


AUTO_SHAPE = AutoShape("auto", 1, SHAPES[0].write)


@dataclass(frozen=True)
class Planned:
    """One delivery. `due`: seconds after the burst began."""

    signal: Signal
    shape: Shape
    due: float


@dataclass(frozen=True)
class Burst:
    """So many deliveries within so many seconds. `auto`: the share whose orders go to a broker."""

    count: int
    within_s: float = 1.0
    auto: float = 0.05
    seed: int = 201

    def dues(self) -> list[float]:
        """When each delivery is due, in order: at random moments, as independent senders are."""
        draw = random.Random(f"{self.seed} dues")
        return sorted(draw.uniform(0, self.within_s) for _ in range(self.count))

    def plan(self, run: str) -> list[Planned]:
        """All deliveries of a run; `run` is the prefix of their markers."""
        draw = random.Random(f"{self.seed} auto")
        signals = Signals(run, USERS, seed=self.seed, shapes=STORED)
        planned = []
        for due in self.dues():
            signal, shape = signals.next()
            if draw.random() < self.auto:
                # What a SELL sells depends on what the broker holds; it is tested elsewhere.
                signal, shape = replace(signal, user=AUTO_USER, side="BUY"), AUTO_SHAPE
            planned.append(Planned(signal, shape, due))
        return planned


def share(planned: Sequence[Planned], number: int, processes: int) -> Sequence[Planned]:
    """The deliveries of one sender process; together the processes send each delivery once."""
    return planned[number::processes]


@dataclass(frozen=True)
class Profile:
    """A kind of burst for `make load` and `make burst`.

    `counts`: sizes, each in every mode; `during`: size, situations and their modes; `answered`: whether every
    delivery has to be answered in time; `quick`: modes and sizes when there is little time, None: not at all.
    """

    name: str
    why: str
    counts: tuple[int, ...]
    during: tuple[int, tuple[str, ...], tuple[str, ...]] | None = None
    answered: bool = True
    quick: tuple[tuple[str, ...], tuple[int, ...]] | None = None
    ci: bool = True


@dataclass(frozen=True)
class Case:
    """One burst: its mode, what goes on meanwhile, its size, and how AUTO orders get to their broker."""

    mode: str
    situation: str
    count: int
    dispatch: str = INLINE

    @property
    def name(self) -> str:
        """As tables show it."""
        meanwhile = "" if self.situation == CALM else f", {self.situation}"
        how = "" if self.dispatch == INLINE else f", {self.dispatch}"
        return f"{self.mode}{meanwhile}, {self.count:,}{how}"


def cases(
    profile: Profile,
    *,
    quick: bool = False,
    modes: Sequence[str] = (),
    counts: Sequence[int] = (),
    situations: Sequence[str] = (),
    dispatches: Sequence[str] = (),
) -> list[Case]:
    """The bursts of a profile, smaller ones first; what the caller names replaces what the profile says.

    Unless dispatches are named, orders go out inline, and of each mode the smallest burst is played with the queue too.
    """
    if quick and profile.quick and not modes:
        modes = profile.quick[0]
    if quick and profile.quick and not counts:
        counts = profile.quick[1]
    found = []
    if not situations or CALM in situations:
        found = [Case(mode, CALM, n) for mode in modes or MODES for n in counts or profile.counts]
    size, kinds, usual = profile.during or (0, (), ())
    kinds = tuple(situations) or ((CUTOVER,) if quick else kinds)
    size = max(counts) if counts and (situations or not profile.counts) else size
    if size:
        found += [
            Case(mode, kind, size)
            for kind in kinds
            for mode in modes or (usual if kind in COMMANDS else MODES)
            if mode in FAULTS.get(kind, (SYNC, ASYNC)) and kind != CALM
        ]
    if dispatches:
        return [replace(case, dispatch=dispatch) for case in found for dispatch in dispatches]
    calm = [case for case in found if case.situation == CALM]
    least = min((case.count for case in calm), default=0)
    return found + [replace(case, dispatch=QUEUE) for case in calm if case.count == least]


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                name="bar_close",
                why="A bar closes and every strategy fires within one second, each over a connection of its own.",
                counts=(500, 1000, 2000, 3000),
                during=(2000, COMMANDS, (SYNC,)),
                quick=((SQLITE, SYNC), (500, 2000)),
            ),
            Profile(
                name="bar_close_faults",
                why="A bar closes while something breaks: what cannot be served is refused in time, and sent again.",
                counts=(),
                during=(1000, (CUTOVER, *FAULTS), (ASYNC, SYNC)),
                ci=False,
            ),
            Profile(
                name="bar_close_flood",
                why="Far more than two cores can serve: refusals have to come at once, and nothing may be lost.",
                counts=(MOST,),
                answered=False,
                ci=False,
            ),
        )
    }
)
