"""Named places at which a test may stop, fail or kill the process; free when unarmed.

Armed by the environment variable ST_FAILPOINTS, e.g. `apply.before_commit=kill,switch.fenced=sleep:0.3`, or
in a test by `arm(name, action)`. Actions: `kill` (SIGKILL to this process), `raise` (a `FailpointError`),
`sleep:SECONDS`, `wait:PATH`, or any callable. `wait` creates PATH.reached and waits until the file PATH
exists.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path


class Failpoint(StrEnum):
    """Every durable step of the protocol; the fault suite iterates this list."""

    APPLY_LOCKED = "apply.locked"  # the shadow is locked, the primary not yet read
    APPLY_READ = "apply.read"  # the primary's state is read, nothing written
    APPLY_BEFORE_COMMIT = "apply.before_commit"  # shadow rows and watermark written, not committed
    APPLY_AFTER_COMMIT = "apply.after_commit"  # the round is durable, its acknowledgement on the way
    COMMIT_BEFORE = "commit.before"  # the application's commit, before the primary has it
    COMMIT_AFTER = "commit.after"  # the primary has it, the caller does not know yet
    STRICT_ANNOUNCED = "strict.announced"  # the shadow took the change, the primary did not commit it yet
    PREPARE_CONTROL = "prepare.control"  # PostgreSQL is claimed, no table made
    PREPARE_SCHEMA = "prepare.schema"  # tables made, nothing captured
    PREPARE_CAPTURE = "prepare.capture"  # PostgreSQL captures, SQLite not yet
    PREPARE_DONE = "prepare.done"  # both sides capture, the key ranges are planned
    COPY_CHUNK_READ = "copy.chunk_read"  # a chunk's rows are on their way
    COPY_BEFORE_COMMIT = "copy.before_commit"  # rows and progress written, not committed
    COPY_AFTER_COMMIT = "copy.after_commit"  # the chunk is durable, its acknowledgement on the way
    COPY_INDEX = "copy.index"  # between two index builds
    COPY_DONE = "copy.done"  # phase moved to replicating
    VERIFY_CHUNK = "verify.chunk"  # a range is compared, its findings and the progress are durable
    SWITCH_BEGUN = "switch.begun"  # the attempt is on record, the fence still down
    SWITCH_FENCED = "switch.fenced"  # the old primary takes no writes
    SWITCH_DRAINED = "switch.drained"  # the shadow has everything
    SWITCH_CHECKED = "switch.checked"  # the changed keys were compared
    SWITCH_COMMITTING = "switch.committing"  # the point after which only PostgreSQL's record decides
    SWITCH_COMMITTED = "switch.committed"  # the record is written, SQLite does not know yet
    SWITCH_DONE = "switch.done"  # both control rows agree, nothing is left to do
    RECOVER_DECIDED = "recover.decided"  # the attempt is ended on the arbiter, the fence still up
    SCHEMA_OPENED = "schema.opened"  # a migration may write on the shadow, nothing is durable
    SCHEMA_BLOCK = "schema.block"  # an autocommit block begins: what came before is durable, the fence is up
    SCHEMA_RESUMED = "schema.resumed"  # behind a block: its statements are durable, the version is not
    SCHEMA_SHADOW = "schema.shadow"  # the shadow is migrated, the primary not yet
    CAPTURE_HEALING = "capture.healing"  # lost capture was noticed: the verify is discarded, nothing put back
    ORDER_ASKED = "order.asked"  # the order says that a broker is asked, the broker does not know yet
    ORDER_PLACED = "order.placed"  # the broker has answered, nothing of the answer is stored
    ORDER_STORED = "order.stored"  # the broker's answer is stored, the dispatch has not ended
    JOB_CLAIMED = "job.claimed"  # jobs are RUNNING for a worker that has not begun with them
    COMPLETE_SQLITE = "complete.sqlite"  # one side is clean, the other not yet
    RETENTION_ARCHIVED = "retention.archived"  # a batch's archive is on the disk, its rows untouched
    RETENTION_BEFORE_COMMIT = "retention.before_commit"  # the rows are deleted, not committed
    RETENTION_AFTER_COMMIT = "retention.after_commit"  # the rows are gone, the archive is still pending


class FailpointError(RuntimeError):
    """Raised by a failpoint armed with `raise`."""


Action = Callable[[], None]
_armed: dict[str, Action] = {}


def failpoint(name: Failpoint) -> None:
    """Do what this point is armed with; almost always nothing."""
    if _armed and (action := _armed.get(name)) is not None:
        action()


@contextmanager
def arm(name: Failpoint, action: Action | str) -> Iterator[None]:
    """Arm a point for the duration of a block."""
    _armed[name] = parse(action) if isinstance(action, str) else action
    try:
        yield
    finally:
        _armed.pop(name, None)


def parse(text: str) -> Action:
    """The action that a text names.

    Raises:
        ValueError: no such action.
    """
    verb, _, argument = text.partition(":")
    if verb == "kill":
        return lambda: os.kill(os.getpid(), signal.SIGKILL)
    if verb == "raise":
        return _raise
    if verb == "sleep":
        return lambda: time.sleep(float(argument))
    if verb == "wait":
        return lambda: _wait(Path(argument))
    raise ValueError(f"no failpoint action {text!r}")


def _raise() -> None:
    raise FailpointError("armed failpoint")


def _wait(path: Path) -> None:
    path.with_suffix(".reached").touch()
    while not path.exists():
        time.sleep(0.005)


def arm_from_environment() -> None:
    """Arm what ST_FAILPOINTS lists. Called once at import."""
    for entry in filter(None, os.environ.get("ST_FAILPOINTS", "").split(",")):
        name, _, action = entry.partition("=")
        _armed[Failpoint(name)] = parse(action)


arm_from_environment()
