"""One look at the pair for all who watch: a thread that asks, a state that is replaced, an hour of figures.

A look at roles, lag and progress takes place each second. Gates, sizes and history cost more. These are
looked at when something has happened. Otherwise the next look comes after a rest a hundred times as long as
the last look. The rest is five seconds at least and five minutes at most. More people who watch do not cost the
databases more, and the memory is that of one state and one hour.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from app.db.common.errors import SwitchError, first_line
from app.db.common.urls import Pair, Side
from app.db.sides.stores import Stores
from app.db.switch.state.checks import Check
from migration.common.failures import failure, redact, secrets_of
from migration.console.door import door
from migration.console.health import postgres_health, sqlite_health
from migration.watch import status
from migration.watch.history import last_events
from migration.watch.moving import Watched

EVERY_S = 1.0
POINTS = 3_600  # an hour of seconds
SHARE = 100  # a look that costs more rests so many times as long as it took
LEAST_REST_S, MOST_REST_S = 5.0, 300.0
BURST = 20  # such looks that may take place before their rests are over, because something has happened
SILENCE_S = 3.0  # a database that does not answer within this counts as away
GATES_S = 20.0  # the same while gates are asked: they read the schema, which may be large
EVENTS = 40
POINT = ("at", "lag", "lag_seconds", "written", "applied", "rows", "pause_ms")


class Seldom:
    """When something that costs more is looked at: after a rest, or before it ends when something has happened.

    What happens again and again, as rows that come into quarantine, does not end the rests for ever.
    """

    def __init__(self) -> None:
        self._rest, self._free_at = 0.0, 0.0
        self._sign: object = None

    def is_due(self, sign: object = None) -> bool:
        """Whether to look now; `sign` changes when something has happened."""
        left = self._free_at - time.monotonic()
        return left <= 0 or (sign != self._sign and left < BURST * self._rest)

    @contextmanager
    def look(self, sign: object = None) -> Iterator[None]:
        """One look, which may fail."""
        began = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            self._rest = min(MOST_REST_S, max(LEAST_REST_S, SHARE * (now - began)))
            self._free_at = max(now, self._free_at) + self._rest
            self._sign = sign

    def soon(self) -> None:
        """Look again at the next occasion."""
        self._free_at = 0.0


class Collector:
    """Looks at a pair until it is stopped.

    Args:
        pair: both sides.
        open_stores: opens connections of this collector's own.
        metrics_url: where a backend shows its metrics; None: the door is not shown.
        jobs: what actions are doing, for all who watch.
    """

    def __init__(
        self,
        pair: Pair,
        open_stores: Callable[[], Stores],
        *,
        metrics_url: str | None = None,
        jobs: Callable[[], list[Any]] = list,
    ) -> None:
        self._pair = pair
        self._open = open_stores
        self._metrics_url = metrics_url
        self._jobs = jobs
        self._stores: Stores | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="st-console", daemon=True)
        self._full: dict[str, Any] = {"database": pair.postgres.database}
        self._gates: list[Check] = []
        self._problem: str | None = None  # why the gates could not be asked
        self._of_gates, self._of_health, self._of_door = Seldom(), Seldom(), Seldom()
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
        self._of_gates.soon()
        self._of_health.soon()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(EVERY_S)
        self._close()

    def look(self) -> None:
        """One look; what fails is part of the state. Raises nothing."""
        light: dict[str, Any] = {}
        try:
            light = self._look()
        except Exception as error:  # whatever it is: who does not look any more shows old figures for ever
            self._close()
            light["problem"] = first_line(error) if isinstance(error, SwitchError) else failure(error).message
        self._publish(light)

    def _look(self) -> dict[str, Any]:
        """Renew the state. Returns lag and rates."""
        if self._stores is None:
            self._stores = self._open()
        stores = self._stores
        stores.finish_by(time.monotonic() + SILENCE_S)
        found = self._status(stores, self._gates)
        sign = self._sign(found)
        if not found.postgres.reachable:
            self._gates, self._problem = [], None
            self._of_gates.soon()  # once it answers
        elif self._of_gates.is_due(sign):
            with self._of_gates.look(sign):
                stores.finish_by(time.monotonic() + GATES_S)
                found = self._status(stores, None)
                self._gates, self._problem = found.gates, found.problem or found.postgres.error
                self._full["gates_at"] = time.time()
            stores.finish_by(time.monotonic() + SILENCE_S)
        found.problem = found.problem or self._problem
        # The rate of the work under way as the last half minute shows it.
        found.moving = self._watched.at(found.moving)
        self._full |= {"status": found.as_json(), "gates": [asdict(gate) for gate in found.gates]}
        if self._of_health.is_due(sign):
            with self._of_health.look(sign):
                self._full |= self._look_at_health(stores, found)
        if self._metrics_url and self._of_door.is_due():
            with self._of_door.look():
                self._full["door"] = door(self._metrics_url)
        return self._rates(stores, found)

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

    def _look_at_health(self, stores: Stores, found: status.Status) -> dict[str, Any]:
        reachable = found.postgres.reachable
        return {
            "health": {
                "sqlite": sqlite_health(self._pair.path),
                "postgres": postgres_health(stores) if reachable else None,
            },
            "history": last_events(stores, EVENTS, ask_postgres=reachable),
        }

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
        state = {**self._full, "light": light, "point": self.points[-1], "jobs": self._jobs()}
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
