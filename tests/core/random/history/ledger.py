"""What the clients of a history know: one line before each operation, one when its outcome is known.

A client that is killed thus leaves everything it was told, and the names of those operations of which
nobody knows. The judge reads these files and nothing else of the clients.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Outcome(StrEnum):
    """What the client may conclude."""

    OK = "ok"  # acknowledged: the effect is there, exactly once
    REFUSED = "refused"  # an error before the commit, or given up: no effect
    UNKNOWN = "unknown"  # an error at the commit, or the client was killed: no effect, or one


@dataclass
class Op:
    """One transaction of a client. `token` is unique over all clients; `what` depends on the kind."""

    kind: str
    token: str
    client: str
    what: Mapping[str, Any]
    outcome: Outcome = Outcome.UNKNOWN


class Ledger:
    """Writes one file, from several threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def _write(self, line: Mapping[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def begin(self, op: Op) -> None:
        """The operation is about to start."""
        self._write(asdict(op))

    def end(self, op: Op) -> None:
        """Its outcome is known."""
        self._write({"token": op.token, "outcome": op.outcome})


def read(paths: Iterable[Path]) -> list[Op]:
    """All operations; a last line that was cut off by a kill is left out."""
    found: dict[str, Op] = {}
    for path in paths:
        *complete, _ = path.read_text(encoding="utf-8").split("\n")
        for line in map(json.loads, complete):
            if "kind" in line:
                found[line["token"]] = Op(**line | {"outcome": Outcome(line["outcome"])})
            else:
                found[line["token"]].outcome = Outcome(line["outcome"])
    return list(found.values())
