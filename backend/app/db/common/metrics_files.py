"""The files of Prometheus' multiprocess mode: what processes that are gone have left in them does not speak.

A process keeps its metrics in files that carry its id. A gauge of a dead process says what was so when it
died, and its id may come back. Counters of the dead still count, until all processes begin anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from app.db.common import metrics

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def begin() -> None:
    """A process starts: forget what the dead left, all of it if no other process lives."""
    metrics.DEGRADED.set(0)  # the file may be that of a former process with this id
    files = _files()
    others = {pid for pid in files if pid != os.getpid()}
    gone = {pid for pid in others if not _lives(pid)}
    for pid in gone:
        _remove(path for path in files[pid] if gone == others or path.name.startswith("gauge_"))


def forget_the_dead() -> None:
    """Remove the gauges of processes that are gone; called before the metrics are put together."""
    for pid, paths in _files().items():
        if pid != os.getpid() and not _lives(pid):
            _remove(path for path in paths if path.name.startswith("gauge_"))


def _files() -> dict[int, list[Path]]:
    """The metrics' files by process id."""
    folder = os.environ.get(VARIABLE)
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
