"""Sessions: commits per second and their time in every mode, without HTTP; one alert and one order each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime

from app.models import Alert, Order
from loadtests.bench.lab.lab import Lab, rotated
from loadtests.bench.lab.modes import MODES, USER, Factory, Field, Mode, field_of
from loadtests.bench.lab.samples import Figure, Part, Samples
from loadtests.judge.figures import percentile
from loadtests.show.headline import ALONE, NAIVE

WARM_UP = 5
Opener = Callable[[], AbstractContextManager[Factory]]


def run(lab: Lab) -> Part:
    """Every mode with every number of threads."""
    part = Part("sessions", "Commits in each mode, one alert and one order each, without HTTP")
    if not lab.sizes.threads:
        return part
    field = field_of(lab)
    contenders: list[tuple[str, Opener]] = [(ALONE, field.alone), (NAIVE, field.naive)]
    contenders += [(mode.name, _opener(field, mode)) for mode in MODES]
    for threads in lab.sizes.threads:
        part.figures += _contest(lab, threads, contenders, part.notes)
    return part


def _opener(field: Field, mode: Mode) -> Opener:
    @contextmanager
    def opened() -> Iterator[Factory]:
        with field.open(mode) as (factory, _):
            yield factory

    return opened


def _contest(lab: Lab, threads: int, contenders: list[tuple[str, Opener]], notes: list[str]) -> list[Figure]:
    samples = Samples(f"{threads} thread{'s' if threads > 1 else ''}", ALONE)
    for repeat in range(lab.sizes.repeats):
        lab.say(f"sessions, {threads} threads: repeat {repeat + 1}")
        for name, opener in rotated(contenders, repeat):
            with opener() as factory:
                spend(factory, 1, WARM_UP)
                seconds, times, errors = spend(factory, threads, lab.sizes.commits)
            samples.add(name, "commits", "1/s", len(times) / seconds)
            samples.add(name, "p50", "ms", percentile(times, 0.5))
            samples.add(name, "p99", "ms", percentile(times, 0.99))
            if errors:
                notes.append(f"{name}, {threads} threads: {len(errors)} commits failed, {errors[0]}")
    return samples.figures()


def spend(factory: Factory, threads: int, commits: int) -> tuple[float, list[float], list[str]]:
    """Commit so often in all; returns the seconds, each commit's milliseconds, and the errors."""
    times: list[float] = []
    errors: list[str] = []
    barrier = threading.Barrier(threads + 1)

    def work() -> None:
        barrier.wait()
        for _ in range(max(1, commits // threads)):
            started = time.perf_counter()
            try:
                deliver(factory)
            except Exception as error:
                errors.append(f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
            else:
                times.append((time.perf_counter() - started) * 1000)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began, times, errors


def deliver(factory: Factory) -> None:
    """What a webhook delivery writes."""
    with factory() as session:
        alert = Alert(
            user_id=USER, symbol="NSE:SBIN", exchange="NSE", interval="15", action="BUY", qty=10.0, price=811.35,
            raw_payload='{"secret": "***", "symbol": "NSE:SBIN"}', bar_time=datetime(2026, 2, 2, 9, 15),
        )  # fmt: skip
        session.add(alert)
        session.flush()
        session.add(
            Order(
                user_id=USER,
                alert_id=alert.id,
                symbol="NSE:SBIN",
                exchange="NSE",
                side="BUY",
                qty=10.0,
                price=811.35,
            )
        )
        session.commit()
