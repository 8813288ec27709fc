"""The record of what was asked of a move: each command with its caller, its time and how it ended.

    begun (on the disk before anything is done) -> the command -> ended

The record is a file beside the SQLite file, one JSON object per line. It does not need PostgreSQL, and it
stays when `complete` or `abort` removes the bookkeeping. PostgreSQL's own history is copied into it before
that. Lines are only appended, each by one write, so commands that run at once do not mix their lines. A
command that was killed has a beginning and no end. A line that a full disk cut off is skipped when it is
read, and the next line does not suffer.

A record that cannot be written holds up nothing: somebody may have to roll back on a full disk. It is said aloud.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from app.db.common.errors import SwitchError
from app.db.sides.phase import actor, os_user, record
from app.db.sides.sqlite.files import beside, give_as, to_disk
from app.db.sides.stores import Stores
from migration.common.failures import redact
from migration.common.outcome import Outcome

SUFFIX = ".st-history.jsonl"
CALLED_BY = "ST_CALLED_BY"
# Commands that only read are not recorded; every other one is, a new one too.
_READ_ONLY = frozenset({"preflight", "status", "history", "quarantine list", "quarantine show", "lint"})
_AWAY = ("ShadowUnavailable", "OperationalError")  # errors after which PostgreSQL is not asked once more
_NAMES = r"[\w-]*(?:password|passwd|secret|token|api[_-]?key|authorization)[\w-]*"
_SECRET = re.compile(
    rf"(?i)({_NAMES}[\"']?\s*[=:]\s*|--{_NAMES}\s+)"
    r"(?:(?:bearer|basic)\s+)?(?:\"[^\"]*\"?|'[^']*'?|[^\s,;\"']+)"
)


@dataclass(frozen=True)
class Event:
    """One line of history: a command, or what a process did of its own accord.

    `epoch` is None where the record of a command holds none; `at` is in seconds since 1970.
    """

    id: str
    at: float
    actor: str
    event: str
    epoch: int | None
    evidence: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at, "actor": self.actor, "event": self.event, "epoch": self.epoch,
            "evidence": dict(self.evidence),
        }  # fmt: skip


def only_looks(command: str, options: Mapping[str, Any]) -> bool:
    """Whether a call changes nothing, so that it is no part of the history: a dry run, limits that are asked for."""
    if command in _READ_ONLY or options.get("dry_run"):
        return True
    return command == "throttle" and not any(options.values())


def trail_of(sqlite: Path) -> Path:
    """The file that holds the record of a SQLite file, whichever of its names was given."""
    return beside(sqlite, SUFFIX)


class Recorded:
    """The record of one command.

    Args:
        sqlite: the SQLite file. command: the verb. words: the command line. secrets: what must not be kept.
    """

    def __init__(self, sqlite: Path, command: str, words: Sequence[str], secrets: Iterable[str]) -> None:
        self._path = trail_of(sqlite)
        self._secrets = tuple(secrets)
        self._id = uuid.uuid4().hex
        self._epoch: int | None = None
        self._command = command
        self._begun: dict[str, Any] = {
            "kind": "begun",
            "id": self._id,
            "at": time.time(),
            "actor": actor(),
            "user": os_user(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "sudo_user": os.environ.get("SUDO_USER"),
            "called_by": self._clean(os.environ.get(CALLED_BY) or "") or None,
            "command": command,
            "line": shlex.join(["st-migrate", *map(self._clean, words)]),
        }

    def begin(self) -> str | None:
        """Put the beginning on the disk. Returns why that was not possible."""
        return self._write(self._begun)

    def end(self, outcome: Outcome) -> str | None:
        """Put the end on the disk. Returns why that was not possible."""
        line = {"kind": "ended", "id": self._id, "at": time.time(), "epoch": self._epoch}
        return self._write({**line, **self._told(outcome)})

    def tell_postgres(self, stores: Stores, outcome: Outcome) -> None:
        """Write the command into PostgreSQL's history, where there is one; what fails there changes nothing."""
        if outcome.data.get("error") in _AWAY:
            return
        with suppress(SwitchError, psycopg.Error, sqlite3.Error, OSError):
            control = stores.postgres.read_control()
            if stores.sqlite.read_control().pair != control.pair:
                return
            self._epoch = epoch = control.epoch
            evidence = {**self._begun, **self._told(outcome)}
            for name in ("kind", "at", "actor"):
                del evidence[name]
            with stores.postgres.write() as connection:
                record(connection, f"command {self._command}", epoch, evidence)

    def _told(self, outcome: Outcome) -> dict[str, Any]:
        reasons = [self._clean(str(reason)) for reason in outcome.data.get("reasons") or ()]
        return {
            "outcome": outcome.name,
            "exit_code": int(outcome.exit),
            "message": self._clean(outcome.message),
            "reasons": reasons,
        }

    def _clean(self, text: str) -> str:
        return _SECRET.sub(r"\1***", redact(text, self._secrets))

    def _write(self, line: Mapping[str, Any]) -> str | None:
        try:
            _append(self._path, [line])
        except OSError as error:
            return f"this command is not recorded in {self._path}: {error.strerror or error}"
        return None


def keep_events(stores: Stores) -> None:
    """Copy PostgreSQL's history into the file, before the bookkeeping is removed. Harmless to repeat.

    Raises:
        SwitchError: the file cannot be written, so that the history would be lost.
    """
    path = trail_of(stores.sqlite.path)
    lines = [{"kind": "event", "id": event.id, **event.as_json()} for event in postgres_events(stores)]
    try:
        known = {event.id for event in file_events(stores.sqlite.path)[0]}
        _append(path, [line for line in lines if line["id"] not in known])
    except OSError as error:
        raise SwitchError(
            f"the history cannot be kept in {path}: {error.strerror or error}",
            hint="make room, or give this user write permission on the folder; the same command goes on from there",
        ) from error


def postgres_events(stores: Stores, limit: int | None = None) -> list[Event]:
    """What PostgreSQL's history holds, oldest first; of a long one the newest.

    Raises:
        NotPrepared: the database has no history.
        ShadowUnavailable: PostgreSQL cannot be reached.
    """
    pair = stores.postgres.read_control().pair
    rows = stores.postgres.connection.execute(
        "SELECT id, at, actor, event, epoch, evidence FROM st_history ORDER BY id DESC LIMIT %s", (limit,)
    ).fetchall()
    found = []
    for number, at, by, event, epoch, text in reversed(rows):
        evidence = json.loads(text)
        name = evidence.get("id") if event.startswith("command ") else None
        found.append(Event(name or f"{pair}:{number}", at, by, event, epoch, evidence))
    return found


def file_events(sqlite: Path) -> tuple[list[Event], int]:
    """What the file holds, oldest first, and how many lines cannot be read. Nothing where there is no file.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        lines = trail_of(sqlite).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    found: dict[str, Event] = {}
    unreadable = 0
    for text in filter(None, lines):
        try:
            _take(json.loads(text), found)
        except (ValueError, KeyError, TypeError):
            unreadable += 1
    return sorted(found.values(), key=lambda event: event.at), unreadable


def _take(line: Mapping[str, Any], found: dict[str, Event]) -> None:
    """One line of the file: an event of PostgreSQL's, the beginning of a command, or its end."""
    name = line["id"]
    match line["kind"]:
        case "event":
            found.setdefault(
                name, Event(name, line["at"], line["actor"], line["event"], line["epoch"], line["evidence"])
            )
        case "begun":
            told = {k: v for k, v in line.items() if k not in ("kind", "at", "actor")}
            told |= {"ended_at": None, "outcome": None, "exit_code": None, "message": "running, or killed"}
            found[name] = Event(name, line["at"], line["actor"], f"command {line['command']}", None, told)
        case "ended":
            ended = {k: v for k, v in line.items() if k not in ("kind", "id", "at", "epoch")}
            begun = found[name]
            evidence = {**begun.evidence, **ended, "ended_at": line["at"]}
            found[name] = Event(name, begun.at, begun.actor, begun.event, line["epoch"], evidence)


def _append(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Add lines and wait until they are on the disk. The file belongs to whom the SQLite file belongs to."""
    text = "".join(json.dumps(line, default=str) + "\n" for line in lines).encode()
    if not text:
        return
    fresh = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if fresh:
            give_as(path.with_name(path.name.removesuffix(SUFFIX)), descriptor)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            text = b"\n" + text  # a full disk or a crash cut the line before off
        if os.write(descriptor, text) != len(text):
            raise OSError(28, "No space left on device")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if fresh:
        to_disk(path.parent)
