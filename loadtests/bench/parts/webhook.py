"""Webhook: deliveries per second and their time over HTTP, in every mode, with clients and workers.

A client's next delivery leaves when an earlier one is answered, over a connection of its own; each mode has its own
databases. With --before, the backend of another checkout on SQLite alone takes part, and all modes are held against
that one.
"""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from loadtests.bench.lab.lab import Lab, rotated
from loadtests.bench.lab.modes import MODES, USER, field_of
from loadtests.bench.lab.samples import Part, Samples
from loadtests.burst.send.sender import message
from loadtests.burst.send.volley import Volley
from loadtests.judge.figures import percentile
from loadtests.show.headline import OFF, ONE_EACH, SYNC
from loadtests.stage.embedded import free_port
from loadtests.stage.processes import REPO, Backend
from loadtests.traffic.ledger import Outcome
from loadtests.traffic.payloads import SHAPES
from loadtests.traffic.sender import conclude
from loadtests.traffic.signals import Signals

SECRET = "bench-webhook-secret"
WARM_UP = 4
EACH = 40  # deliveries of each client, at least
ONLY_WITHOUT_HTTP = ("SQLite, capture only", "PostgreSQL, reverse async")
TIMEOUT_S = 30.0
_runs = itertools.count(1)


def run(lab: Lab) -> Part:
    """Every mode with every number of workers and clients."""
    part = Part("webhook", "Webhook deliveries over HTTP in each mode")
    field = field_of(lab)
    names = [mode.name for mode in MODES if mode.name not in ONLY_WITHOUT_HTTP]
    if not lab.sizes.every_mode:
        names = [OFF, SYNC]
    environments = {name: _settings(lab) | field.environment(name) for name in names}
    if lab.before is not None:
        environments = {ONE_EACH: _settings(lab) | _alone_before(lab)} | environments
    reference = next(iter(environments))
    for workers in lab.sizes.workers:
        groups = {
            clients: Samples(
                f"{workers} worker{'s' if workers > 1 else ''}, {clients} client{'s' if clients > 1 else ''}",
                reference,
            )
            for clients in lab.sizes.clients
        }
        for repeat in range(lab.sizes.long_repeats):
            lab.say(f"webhook, {workers} workers: repeat {repeat + 1}")
            for name in rotated(list(environments), repeat):
                checkout = lab.before if name == ONE_EACH and lab.before else REPO
                with _backend(lab, environments[name], workers, checkout) as backend:
                    for clients, samples in groups.items():
                        _measure(lab, backend, name, clients, samples, part.notes)
        part.figures += [figure for samples in groups.values() for figure in samples.figures()]
    return part


@contextmanager
def _backend(lab: Lab, env: dict[str, str], workers: int, checkout: Path) -> Iterator[Backend]:
    backend = Backend(free_port(), env, lab.base / "backend.log", workers=workers, checkout=checkout)
    backend.start()
    try:
        _send(backend, workers, WARM_UP * workers)
        yield backend
    finally:
        backend.stop()


def _settings(lab: Lab) -> dict[str, str]:
    return {
        "ST_CRYPTO_KEY": "bench-crypto-key-0123456789abcdef0123",
        "ST_TRADINGVIEW_WEBHOOK_SECRET": SECRET,
        "ST_ADMIN_USERNAME": "admin",
        "ST_ADMIN_PASSWORD": "bench-admin-password",
        "ST_CONFIG_DIR": str(lab.base),
        "ST_SHADOW_DATABASE_URL": "",
    }


def _alone_before(lab: Lab) -> dict[str, str]:
    """A file as the other checkout's own first start makes it, with the user of the deliveries."""
    path = lab.file("before")
    env = {"ST_DATABASE_URL": f"sqlite:///{path}"}
    assert lab.before is not None
    first = Backend(
        free_port(), _settings(lab) | env | {"ST_AUTO_MIGRATE": "1"}, lab.base / "backend.log", workers=1,
        checkout=lab.before,
    )  # fmt: skip
    first.start()
    first.stop()
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "INSERT INTO users (id, username, password_hash, role, created_at, updated_at)"
            " VALUES (?, 'bench', '-', 'TRADER', ?, ?)",
            (USER, now, now),
        )
        connection.commit()
    return env


def _measure(lab: Lab, backend: Backend, name: str, clients: int, samples: Samples, notes: list[str]) -> None:
    seconds, times, failed = _send(backend, clients, max(lab.sizes.requests, EACH * clients))
    samples.add(name, "deliveries", "1/s", len(times) / seconds)
    samples.add(name, "p50", "ms", percentile(times, 0.5))
    samples.add(name, "p99", "ms", percentile(times, 0.99))
    if failed:
        notes.append(f"{name}, {clients} clients: {len(failed)} deliveries failed, {failed[0]}")


def _send(backend: Backend, clients: int, count: int) -> tuple[float, list[float], list[str]]:
    """Send so many deliveries; returns the seconds, the milliseconds of each, and what failed."""
    signals = Signals(f"bench{next(_runs)}x{time.time_ns():x}", ["bench"], seed=1, shapes=SHAPES[:1])
    planned = [signals.next() for _ in range(count)]
    messages = [message(signal, shape, SECRET) for signal, shape in planned]
    volley = Volley(backend.port, messages, [0.0] * count, timeout_s=TIMEOUT_S, clients=clients)
    started = time.perf_counter()
    sent = volley.run()
    seconds = time.perf_counter() - started
    times: list[float] = []
    failed: list[str] = []
    for (signal, shape), one in zip(planned, sent, strict=True):
        told = conclude(signal, shape, tuple(one.attempts), 0.0, one.answer, one.why)
        if told.outcome is Outcome.ACKNOWLEDGED:
            times.append(one.attempts[-1].ms)
        else:
            failed.append(told.why or told.outcome)
    return seconds, times, failed
