"""What the senders know: every delivery with its attempts and answers, and every other acknowledged write.

One JSON object per line: one before a delivery is sent, one when its outcome is known. A sender that is
killed thus leaves everything it was told, and the names of those of which it knows nothing. The oracle
reads these files and nothing else of the senders.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Outcome(StrEnum):
    """What the sender may conclude."""

    ACKNOWLEDGED = "acknowledged"  # the answer names the rows: they must be there, once, on both sides
    REFUSED = "refused"  # the answer says that nothing was stored: nothing may be there
    FAILED = "failed"  # every attempt ended in a refusal that invites to send again; nothing may be there
    UNKNOWN = "unknown"  # no answer arrived: there may be one copy, or none
    CUT_OFF = "cut_off"  # the sender ended before it knew: like unknown


@dataclass(frozen=True)
class Attempt:
    """One request.

    `at`: seconds since the epoch; `ms`: until its end; `status`: None without an answer; `sent`: false if
    no connection was made.
    """

    at: float
    ms: float
    status: int | None
    sent: bool = True


@dataclass(frozen=True)
class Delivery:
    """One webhook delivery and how it ended. `late_ms`: from when it was due to its last answer."""

    marker: str
    shape: str
    outcome: Outcome
    attempts: tuple[Attempt, ...]
    late_ms: float
    alert_id: int | None = None
    order_id: int | None = None
    expected: Mapping[str, Mapping[str, Any]] | None = None
    why: str | None = None


def merged(copies: list[Delivery]) -> Delivery:
    """One delivery out of its copies: acknowledged if any copy was, unknown if any may have arrived."""
    order = (Outcome.ACKNOWLEDGED, Outcome.UNKNOWN, Outcome.REFUSED, Outcome.FAILED)
    best = min(copies, key=lambda copy: order.index(copy.outcome))
    ids = {(copy.alert_id, copy.order_id) for copy in copies if copy.outcome is Outcome.ACKNOWLEDGED}
    attempts = tuple(attempt for copy in copies for attempt in copy.attempts)
    return Delivery(
        marker=best.marker,
        shape=best.shape,
        outcome=best.outcome,
        attempts=attempts,
        late_ms=max(copy.late_ms for copy in copies),
        alert_id=best.alert_id,
        # Copies that were told different rows agree with no row: the oracle then reports the delivery.
        order_id=best.order_id if len(ids) < 2 else None,
        expected=best.expected,
        why=best.why,
    )


@dataclass(frozen=True)
class Fact:
    """Another write: the row of `table` with `key` holds `values`.

    `acknowledged` false: no answer arrived, so that it may or may not have happened.
    """

    table: str
    key: Mapping[str, Any]
    values: Mapping[str, Any]
    acknowledged: bool = True


@dataclass
class Ledger:
    """Writes one file; usable from several threads and greenlets.

    Args:
        path: the file; it is appended to.
    """

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._file = self.path.open("a", encoding="utf-8")

    def begin(self, marker: str, shape: str, expected: Mapping[str, Mapping[str, Any]] | None) -> None:
        """A delivery is about to be sent."""
        self.write(Delivery(marker, shape, Outcome.CUT_OFF, (), 0.0, expected=expected))

    def write(self, entry: Delivery | Fact) -> None:
        """Append one entry; it has left the process when this returns."""
        kind = "delivery" if isinstance(entry, Delivery) else "fact"
        line = json.dumps({"kind": kind, **asdict(entry)}, ensure_ascii=False)
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_ledgers(paths: Iterable[Path]) -> list[Delivery | Fact]:
    """All entries of some ledgers: each delivery once, facts in the order of their lines.

    A last line that was cut off by a kill is left out.
    """
    deliveries: dict[str, Delivery] = {}
    facts: list[Fact] = []
    for path in paths:
        *complete, _ = path.read_text(encoding="utf-8").split("\n")
        for entry in map(_entry, map(json.loads, complete)):
            if isinstance(entry, Fact):
                facts.append(entry)
            else:
                deliveries[entry.marker] = entry
    return [*deliveries.values(), *facts]


def _entry(value: dict[str, Any]) -> Delivery | Fact:
    if value.pop("kind") == "fact":
        return Fact(**value)
    attempts = tuple(Attempt(**attempt) for attempt in value.pop("attempts"))
    return Delivery(**{**value, "attempts": attempts, "outcome": Outcome(value["outcome"])})
