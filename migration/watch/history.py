"""The history of a move: what PostgreSQL keeps, and what the file beside the SQLite file keeps, as one list.

Each of the two may be missing. PostgreSQL's is missing while the server is away and after the move has ended.
The file is missing where all commands were given on another host. A command that both hold is told once, as
the file has it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from app.db.common.errors import ConfigurationError, NotPrepared, SwitchError, first_line
from app.db.sides.stores import Stores
from migration.common.plain import counted
from migration.common.trail import Event, file_events, postgres_events


@dataclass(frozen=True)
class History:
    """The events, oldest first; `missing` says what could not be read, as a sentence."""

    events: list[Event]
    missing: list[str]


def read_history(stores: Stores, limit: int | None = None, *, ask_postgres: bool = True) -> History:
    """The newest events; None: all of them. What cannot be read is named and raises nothing."""
    missing = []
    found: dict[str, Event] = {}
    try:
        if ask_postgres and not _same_pair(stores):
            missing.append("PostgreSQL's history is that of another pair, and is left out; check both URLs")
        elif ask_postgres:
            found = {event.id: event for event in postgres_events(stores, limit)}
    except NotPrepared:
        pass  # before the move, or after it
    except (SwitchError, psycopg.Error) as error:
        missing.append(f"PostgreSQL's history cannot be read: {first_line(error)}")
    try:
        kept, unreadable = file_events(stores.sqlite.path)
    except OSError as error:
        kept, unreadable = [], 0
        missing.append(f"the file of the history cannot be read: {error.strerror or error}")
    if unreadable:
        missing.append(f"{counted(unreadable, 'line')} of the file of the history cannot be read")
    for event in kept:
        known = found.get(event.id)
        if known is None or event.epoch is not None:
            found[event.id] = event
        else:
            found[event.id] = Event(
                event.id,
                event.at,
                event.actor,
                event.event,
                known.epoch,
                {**known.evidence, **event.evidence},
            )
    events = sorted(found.values(), key=lambda event: event.at)
    return History(events if limit is None else events[-limit:], missing)


def _same_pair(stores: Stores) -> bool:
    """Whether PostgreSQL's bookkeeping is that of the SQLite file; also where the file carries none (any more)."""
    try:
        ours = stores.sqlite.read_control().pair
    except NotPrepared:
        return True
    return ours == stores.postgres.read_control().pair


def export(history: History, path: Path) -> None:
    """Write all events to a file, one JSON object per line. The file appears whole or not at all.

    Raises:
        ConfigurationError: the file is there already, or cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("x", encoding="utf-8") as file:
            for event in history.events:
                file.write(json.dumps({"id": event.id, **event.as_json()}, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # fails where the name is taken
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror or error}", hint="name another file"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def last_events(stores: Stores, limit: int, *, ask_postgres: bool) -> list[dict[str, Any]]:
    """The newest events, oldest first, as JSON objects."""
    return [event.as_json() for event in read_history(stores, limit, ask_postgres=ask_postgres).events]
