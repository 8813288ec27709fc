"""One look at the pair for all who watch: a thread that asks, a state that is replaced, an hour of figures.

A look at roles, lag and progress takes place each second. Gates, sizes and history cost more. These are
looked at when something has happened. Otherwise the next look comes after a rest a hundred times as long as
the last look. The rest is five seconds at least and a minute at most. More people who watch do not cost the
databases more, and the memory is that of one state and one hour.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psycopg

from app.db.common.errors import SwitchError, first_line
from app.db.common.urls import Pair, Side
from app.db.sides.stores import Stores
from app.db.switch.state.checks import Check
from migration.common.failures import redact, secrets_of
from migration.console.door import door
from migration.console.health import postgres_health, sqlite_health
from migration.watch import status
from migration.watch.history import last_events
from migration.watch.moving import Watched

EVERY_S = 1.0
POINTS = 3_600  # an hour of seconds
SHARE = 100  # a full look rests so many times as long as it took
LEAST_REST_S, MOST_REST_S = 5.0, 60.0
SILENCE_S = 3.0  # a database that does not answer within this counts as away
EVENTS = 40
POINT = ("at", "lag", "lag_seconds", "written", "applied", "rows", "pause_ms")


class Collector:
    """Looks at a pair until it is stopped.

    Args:
        pair: both sides.
        open_stores: opens connections of this collector's own.
        metrics_url: where a backend shows its metrics; None: the door is not shown.
        job: what an action is doing, for all who watch.
    """

    def __init__(
        self,
        pair: Pair,
        open_stores: Callable[[], Stores],
        *,
        metrics_url: str | None = None,
        job: Callable[[], Any] = lambda: None,
    ) -> None:
        self._pair = pair
        self._open = open_stores
        self._metrics_url = metrics_url
        self._job = job
        self._stores: Stores | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="st-console", daemon=True)
        self._full: dict[str, Any] = {}
        self._rest: dict[str, Any] = {}
        self._gates: list[Check] | None = None
        self._signed: tuple[object, ...] = ()
        self._next_full = 0.0
        self._last_log: tuple[float, int, int, Side | None] | None = None
        self._watched = Watched()
        known = secrets_of(pair.postgres)
        self._secrets = known | {json.dumps(secret)[1:-1] for secret in known}  # as the state spells them
        self._seen_pauses: set[float] = set()
        self.points: deque[tuple[Any, ...]] = deque(maxlen=POINTS)
        self.state = b"{}"
        self.version = 0

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking and close the connections."""
        self._stop.set()
        self._thread.join(30)

    def soon(self) -> None:
        """Look at everything again at the next look: something was done."""
        self._next_full = 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(EVERY_S)
        self._close()

    def look(self) -> None:
        """One look; what fails is part of the state. Raises nothing that a database can cause."""
        light: dict[str, Any] = {}
        try:
            if self._stores is None:
                self._stores = self._open()
            stores = self._stores
            stores.finish_by(time.monotonic() + SILENCE_S)
            known = self._gates if time.monotonic() < self._next_full else None
            found = self._status(stores, known)
            if known is None or self._sign(found) != self._signed:
                began = time.monotonic()
                if known is not None:
                    found = self._status(stores, None)
                self._gates, self._signed = found.gates, self._sign(found)
                self._rest = self._look_at_the_rest(stores, found)
                took = time.monotonic() - began
                self._next_full = time.monotonic() + min(MOST_REST_S, max(LEAST_REST_S, SHARE * took))
            # The rate of the work under way as the last half minute shows it.
            found.moving = self._watched.at(found.moving)
            self._full = {**self._rest, "status": found.as_json(), "gates": [asdict(g) for g in found.gates]}
            light = self._rates(stores, found)
        except (SwitchError, psycopg.Error, sqlite3.Error, OSError) as error:
            self._close()
            light["problem"] = first_line(error)
        self._publish(light)

    def _status(self, stores: Stores, known: list[Check] | None) -> status.Status:
        return status.gather(self._pair, stores, count_orphans=False, known=known)

    @staticmethod
    def _sign(found: status.Status) -> tuple[object, ...]:
        """What changes when something happened: then everything is looked at again at once."""
        control, verify = found.control, found.verify
        return (
            found.state, control and (control.epoch, found.paused, control.attempt), found.quarantine,
            verify and (verify.run, verify.finished_at, verify.later), found.postgres.reachable,
        )  # fmt: skip

    def _look_at_the_rest(self, stores: Stores, found: status.Status) -> dict[str, Any]:
        rest: dict[str, Any] = {
            "database": self._pair.postgres.database,
            "history": [],
            "health": {"sqlite": sqlite_health(self._pair.path), "postgres": None},
            "door": door(self._metrics_url) if self._metrics_url else None,
        }
        if found.postgres.reachable:
            rest["health"]["postgres"] = postgres_health(stores)
        rest["history"] = last_events(stores, EVENTS, ask_postgres=found.postgres.reachable)
        return rest

    def _rates(self, stores: Stores, found: status.Status) -> dict[str, Any]:
        """Lag and rates. Nothing where nothing is replicated or PostgreSQL is away."""
        if found.lag is None:
            self._last_log = None
            return {}
        statement, lag = "SELECT coalesce(max(seq), 0) FROM st_change_log", found.lag
        if found.primary is Side.SQLITE:
            (newest,) = stores.sqlite.connection.execute(statement).fetchone()
        else:
            (newest,) = stores.postgres.connection.execute(statement).fetchone() or (0,)
        now, written, applied = time.monotonic(), None, None
        before = self._last_log
        # Each side counts in its own log.
        if before is not None and newest >= before[1] and before[3] is found.primary:
            seconds = max(0.001, now - before[0])
            written = (newest - before[1]) / seconds
            applied = max(0.0, written - (lag.entries - before[2]) / seconds)
        self._last_log = (now, newest, lag.entries, found.primary)
        return {"lag": lag.entries, "lag_seconds": lag.seconds, "written": written, "applied": applied}

    def _publish(self, light: dict[str, Any]) -> None:
        moving = self._full.get("status", {}).get("moving") or {}
        pause = self._new_pause()
        now = round(time.time(), 3)
        while self.points and self.points[-1][0] > now:  # the clock was set back
            self.points.pop()
        point = {**light, "at": now, "rows": moving.get("rate"), "pause_ms": pause}
        self.points.append(tuple(_short(point.get(name)) for name in POINT))
        state = {**self._full, "light": light, "point": self.points[-1], "job": self._job()}
        self.state = redact(json.dumps(state, default=str), self._secrets).encode()
        self.version += 1

    def _new_pause(self) -> float | None:
        """How long a switch held writers that has come into the history since the last look."""
        found = None
        for pause in pauses(self._full.get("history", [])):
            if pause["at"] not in self._seen_pauses:
                self._seen_pauses.add(pause["at"])
                found = pause["ms"]
        if len(self._seen_pauses) > EVENTS * 2:
            self._seen_pauses = {pause["at"] for pause in pauses(self._full.get("history", []))}
        return found

    def _close(self) -> None:
        if self._stores is not None:
            self._stores.close()
            self._stores = None


def pauses(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How long each switch of a history held writers at most: from its beginning to its end."""
    found: list[dict[str, Any]] = []
    begun: float | None = None
    for event in events:
        if event["event"].startswith("switch to "):
            begun = event["at"]
        elif begun is not None and event["event"].startswith(("primary ", "attempt ended")):
            found.append({"at": event["at"], "ms": (event["at"] - begun) * 1000})
            begun = None
    return found


def _short(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
