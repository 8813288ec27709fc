"""Webhook: deliveries per second and their time over HTTP, in every mode, with clients and workers.

Each client sends its next delivery when its last one is answered; each mode has its own databases.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

from loadtests.bench.lab.lab import Lab, rotated
from loadtests.bench.lab.modes import MODES, Field, field_of
from loadtests.bench.lab.samples import Part, Samples
from loadtests.judge.figures import percentile
from loadtests.show.headline import ALONE, NAIVE, SYNC
from loadtests.stage.embedded import free_port
from loadtests.stage.processes import Backend
from loadtests.traffic.ledger import Outcome
from loadtests.traffic.payloads import SHAPES
from loadtests.traffic.sender import deliver
from loadtests.traffic.signals import Signals

SECRET = "bench-webhook-secret"
WARM_UP = 4
ONLY_WITHOUT_HTTP = ("SQLite, capture only", "PostgreSQL, reverse async")
TIMEOUT_S = 30.0
_runs = itertools.count(1)


class PlainBackend(Backend):
    """The backend as `plain_app` makes it."""

    application = "loadtests.bench.lab.plain_app:app"


def run(lab: Lab) -> Part:
    """Every mode with every number of workers and clients."""
    part = Part("webhook", "Webhook deliveries over HTTP in each mode")
    field = field_of(lab)
    names = [ALONE, NAIVE, *(mode.name for mode in MODES if mode.name not in ONLY_WITHOUT_HTTP)]
    if not lab.sizes.every_mode:
        names = [ALONE, NAIVE, SYNC]
    for workers in lab.sizes.workers:
        groups = {
            clients: Samples(
                f"{workers} worker{'s' if workers > 1 else ''}, {clients} client{'s' if clients > 1 else ''}",
                ALONE,
            )
            for clients in lab.sizes.clients
        }
        for repeat in range(lab.sizes.long_repeats):
            lab.say(f"webhook, {workers} workers: repeat {repeat + 1}")
            for name in rotated(names, repeat):
                with _backend(lab, field, name, workers) as backend:
                    for clients, samples in groups.items():
                        _measure(lab, backend, name, clients, samples, part.notes)
        part.figures += [figure for samples in groups.values() for figure in samples.figures()]
    return part


@contextmanager
def _backend(lab: Lab, field: Field, name: str, workers: int) -> Iterator[Backend]:
    kind = PlainBackend if name in (ALONE, NAIVE) else Backend
    backend = kind(free_port(), _env(lab, field, name), lab.base / "backend.log", workers=workers)
    backend.start()
    try:
        _send(backend, workers, WARM_UP * workers)
        yield backend
    finally:
        backend.stop()


def _env(lab: Lab, field: Field, name: str) -> dict[str, str]:
    common = {
        "ST_CRYPTO_KEY": "bench-crypto-key-0123456789abcdef0123",
        "ST_TRADINGVIEW_WEBHOOK_SECRET": SECRET,
        "ST_ADMIN_USERNAME": "admin",
        "ST_ADMIN_PASSWORD": "bench-admin-password",
        "ST_CONFIG_DIR": str(lab.base),
        "ST_SHADOW_DATABASE_URL": "",
    }
    return common | field.environment(name)


def _measure(lab: Lab, backend: Backend, name: str, clients: int, samples: Samples, notes: list[str]) -> None:
    seconds, times, failed = _send(backend, clients, max(lab.sizes.requests, 2 * clients))
    samples.add(name, "deliveries", "1/s", len(times) / seconds)
    samples.add(name, "p50", "ms", percentile(times, 0.5))
    samples.add(name, "p99", "ms", percentile(times, 0.99))
    if failed:
        notes.append(f"{name}, {clients} clients: {len(failed)} deliveries failed, {failed[0]}")


def _send(backend: Backend, clients: int, count: int) -> tuple[float, list[float], list[str]]:
    """Send so many deliveries; returns the seconds, the milliseconds of each, and what failed."""
    signals = Signals(f"bench{next(_runs)}x{time.time_ns():x}", ["bench"], seed=1, shapes=SHAPES[:1])
    times: list[float] = []
    failed: list[str] = []
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            signal, shape = signals.next()
            delivery = await deliver(
                signal, shape, SECRET, lambda: backend.port, time.monotonic(), timeout_s=TIMEOUT_S
            )
            if delivery.outcome is Outcome.ACKNOWLEDGED:
                times.append(delivery.attempts[-1].ms)
            else:
                failed.append(delivery.why or delivery.outcome)

    async def everybody() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    started = time.perf_counter()
    asyncio.run(everybody())
    return time.perf_counter() - started, times, failed
