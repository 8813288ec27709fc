"""Prometheus metrics of the session layer; every name starts with `st_`.

In Prometheus' multiprocess mode a process keeps its metrics in files that carry its id. A gauge of a dead
process says what was so when it died. Its id may come back, so such files are removed. Counters of the dead
still count, until all processes begin anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    multiprocess,
    start_http_server,
)
from prometheus_client.registry import Collector

from app.db.common.errors import ConfigurationError

LAG_CHANGES = Gauge(
    "st_lag_changes", "Log entries the shadow does not have yet", multiprocess_mode="livemostrecent"
)
LAG_SECONDS = Gauge(
    "st_lag_seconds",
    "Age of the oldest change the shadow does not have yet",
    multiprocess_mode="livemostrecent",
)
APPLIED = Counter("st_applied_changes", "Log entries applied to the shadow by this process")
ROUNDS = Counter("st_apply_rounds", "Rounds of apply by this process", ["outcome"])
for _outcome in ("applied", "empty", "standing", "failed"):
    ROUNDS.labels(_outcome)  # a series that begins with its first event is never seen to grow by it
ROUND_SECONDS = Histogram(
    "st_apply_round_seconds",
    "Duration of a round that had something to do",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0),
)
SYNC_WAIT_SECONDS = Histogram(
    "st_sync_wait_seconds",
    "What a commit waited for the shadow",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
)
DEGRADED = Gauge("st_degraded", "1 while sync or strict mode runs as async", multiprocess_mode="livemax")
FENCE_WAITS = Counter("st_fence_waits", "Transactions that had to wait at the fence")
FENCE_WAIT_SECONDS = Histogram(
    "st_fence_wait_seconds",
    "What a transaction waited at the fence",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 3.0),
)
PRIMARY = Gauge("st_primary", "1 for the side that is primary", ["side"], multiprocess_mode="livemostrecent")
EPOCH = Gauge("st_epoch", "Promotions so far", multiprocess_mode="livemostrecent")
WRITABLE_SIDES = Gauge(
    "st_writable_sides",
    "Sides that take application writes; never more than 1",
    multiprocess_mode="livemostrecent",
)
PHASE = Gauge("st_phase", "1 for the phase the pair is in", ["phase"], multiprocess_mode="livemostrecent")
QUARANTINED = Gauge("st_quarantined_rows", "Rows the shadow cannot hold", multiprocess_mode="livemostrecent")
SHADOW_READS = Counter("st_shadow_reads", "Reads repeated on the shadow", ["outcome"])
for _outcome in ("equal", "different", "failed", "dropped"):
    SHADOW_READS.labels(_outcome)  # likewise
SHADOW_MISMATCHES = Counter("st_shadow_read_mismatches", "Repeated reads that gave another answer")
APPLY_STATE = Gauge(
    "st_apply_state",
    "1 for what becomes of changes, measured from the databases at each look",
    ["state"],
    multiprocess_mode="livemostrecent",
)

_folder = "PROMETHEUS_MULTIPROC_DIR"


def in_files() -> bool:
    """Whether the metrics of all workers stand in files, for any of them to put together."""
    return bool(os.environ.get(_folder))


def begin() -> None:
    """A process starts: forget what the dead left, all of it if no other process lives."""
    DEGRADED.set(0)  # the file may be that of a former process with this id
    files = _files()
    others = {pid for pid in files if pid != os.getpid()}
    gone = {pid for pid in others if not _lives(pid)}
    for pid in gone:
        _remove(path for path in files[pid] if gone == others or path.name.startswith("gauge_"))


def forget_the_dead() -> None:
    """Remove the gauges of processes that are gone. Called before the metrics are put together."""
    for pid, paths in _files().items():
        if pid != os.getpid() and not _lives(pid):
            _remove(path for path in paths if path.name.startswith("gauge_"))


def _files() -> dict[int, list[Path]]:
    """The metrics' files by process id."""
    folder = os.environ.get(_folder)
    found: dict[int, list[Path]] = {}
    for path in Path(folder).glob("*.db") if folder else ():
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit():
            found.setdefault(int(pid), []).append(path)
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()


def registry() -> CollectorRegistry:
    """The metrics of this process; of all processes together where they keep them in files."""
    if not in_files():
        return REGISTRY
    forget_the_dead()
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # the library has none
    return together


class _Fresh(Collector):
    """What `registry` has, after a look at what the metrics are about."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        self._look()
        yield from registry().collect()


@contextmanager
def served(address: str | None, look: Callable[[], object]) -> Iterator[None]:
    """Answer Prometheus at HOST:PORT meanwhile; nothing without an address.

    Args:
        look: called before each answer; sets metrics that are measured when they are asked for.

    Raises:
        ConfigurationError: the address is no HOST:PORT, or nobody can listen there.
    """
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    fresh = CollectorRegistry()
    fresh.register(_Fresh(look))
    if in_files():
        begin()
    try:
        server, thread = start_http_server(int(port), host.strip("[]") or "127.0.0.1", fresh)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{address} is no HOST:PORT", hint="name one such as 127.0.0.1:9103"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"metrics cannot be shown at {address}: {error.strerror}", hint="choose another address"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
