"""What the page may do, if that is allowed: it runs the verbs themselves, each as a program of its own.

One runs at a time. A setting, such as a pause, may be changed beside it.

Each action has two steps. The first shows what would be done and gives a ticket. The second takes the ticket and the
name of the PostgreSQL database, as a person typed it, and runs the verb. URLs reach the verb in its environment, so
no password shows in a list of processes.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from app.db.common.errors import ConfigurationError, Refused
from app.db.common.urls import Pair
from migration.common.trail import CALLED_BY

LINES = 60
TICKET_S = 300.0
PLAN_S = 120.0
RATES = ("copy_rate", "verify_rate")
_NO_RATES: Mapping[str, str] = MappingProxyType({})
_DATABASE, _SHADOW = "DATABASE_URL", "SHADOW_DATABASE_URL"


@dataclass(frozen=True)
class Action:
    """One action: the words of its verb, those that only show what would be done, what it means, and what it needs.

    `beside`: it takes a moment, and may be done while another action runs.
    """

    words: tuple[str, ...]
    dry: tuple[str, ...]
    meaning: str
    on_row: bool = False
    rates: bool = False
    beside: bool = False


_STATUS = ("status",)
ACTIONS = {
    "preflight": Action(("preflight",), _STATUS, "Every value is read, nothing is changed: what would block the move is listed."),
    "run": Action(("run",), _STATUS, "Both sides are prepared, and every row is copied and compared, under load. No switch takes place."),
    "pause": Action(("pause",), _STATUS, "Workers and backfills stop; changes wait in the log.", beside=True),
    "resume": Action(("resume",), _STATUS, "Workers and backfills go on.", beside=True),
    "verify": Action(("verify",), _STATUS, "Every row of every table is compared, under load."),
    "repair": Action(("verify", "--repair"), _STATUS, "Differing keys are logged anew, applied and compared again."),
    "cutover": Action(("cutover",), ("cutover", "--dry-run"), "PostgreSQL becomes primary; writers wait for a moment."),
    "rollback": Action(("rollback",), ("rollback", "--dry-run"), "SQLite becomes primary; writers wait for a moment."),
    "recover": Action(("recover",), _STATUS, "What a dead process left is finished or undone."),
    "throttle": Action(("throttle",), ("throttle", "--dry-run"), "Copies and verifies that run keep to these limits at once.", rates=True, beside=True),
    "lift throttle": Action(("throttle", "--off"), ("throttle", "--off", "--dry-run"), "Copies and verifies go as fast as they were told when they began.", beside=True),
    "retry": Action(("quarantine", "retry"), ("quarantine", "show"), "The row is taken up as it is on the primary now.", True),
    "accept": Action(("quarantine", "accept"), ("quarantine", "show"), "A switch may go without this row.", True),
}  # fmt: skip


@dataclass
class Job:
    """An action that runs or ran last; `outcome` is the verb's JSON object, None while it runs."""

    action: str
    beside: bool
    began: float
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    progress: dict[str, Any] | None = None
    outcome: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "beside": self.beside,
            "began": self.began,
            "lines": list(self.lines),
            "progress": self.progress,
            "outcome": self.outcome,
        }


class Actions:
    """Plans and runs actions on one pair.

    Args:
        changed: called when an action has ended.
    """

    def __init__(self, pair: Pair, changed: Callable[[], None] = lambda: None) -> None:
        self._pair = pair
        self.changed = changed
        self._tickets: dict[str, tuple[float, str, tuple[str, ...]]] = {}
        self._lock = threading.Lock()
        self._jobs: dict[bool, Job] = {}  # by whether it may run beside another
        self._threads: dict[bool, threading.Thread] = {}

    def jobs(self) -> list[dict[str, Any]]:
        """What is being done, or was done last: one action at most that takes its time, and one beside it."""
        return [job.as_json() for job in list(self._jobs.values())]

    def plan(
        self, name: str, table: str | None, key: str | None, rates: Mapping[str, str] = _NO_RATES
    ) -> dict[str, Any]:
        """What an action would do, and a ticket for it.

        Args:
            rates: rows per second as they were typed, by RATES.

        Raises:
            ConfigurationError: there is no such action, the row is missing, or a rate is no number.
        """
        action = ACTIONS.get(name)
        if action is None:
            raise ConfigurationError(f"there is no action {name!r}")
        if action.on_row != bool(table and key):
            raise ConfigurationError(
                "name the row by table and key" if action.on_row else "this needs no row"
            )
        if action.rates != bool(rates):
            raise ConfigurationError("name a rate" if action.rates else "this needs no rate")
        if wrong := [typed for typed in rates.values() if not (typed.isascii() and typed.isdigit())]:
            raise ConfigurationError(f"{wrong[0]!r} is no rate: name a number of rows per second")
        limits = tuple(f"--{name.replace('_', '-')}={typed}" for name, typed in rates.items())
        row = ("--", table, key) if table and key else ()
        try:
            done = subprocess.run(
                self._command((*action.dry, *limits, "--json", *row)),
                env=self._environment(),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=PLAN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Refused(f"the plan was not ready within {PLAN_S:.0f} s") from None
        except ValueError:  # a NUL, or half of a character
            raise ConfigurationError("no row has such a table and key") from None
        options = ("--by", f"{getpass.getuser()} (console)", "--yes") if name == "accept" else ()
        words = (*action.words, *options, *limits, "--json", "--progress", *row)
        ticket = secrets.token_urlsafe(16)
        with self._lock:
            now = time.monotonic()
            self._tickets = {t: kept for t, kept in self._tickets.items() if now - kept[0] < TICKET_S}
            self._tickets[ticket] = (now, name, words)
        shown = " ".join(word for word in words if word not in ("--json", "--progress", "--"))
        return {
            "ticket": ticket,
            "meaning": action.meaning,
            "command": f"st-migrate {shown}",
            "dry_run": _object(done.stdout),
        }

    def run(self, ticket: str, typed: str) -> None:
        """Run a planned action in the background.

        Raises:
            ConfigurationError: another name was typed, or the ticket is not known (any more).
            Refused: another action runs.
        """
        if typed != self._pair.postgres.database:
            raise ConfigurationError("that is not the name of the PostgreSQL database: nothing was done")
        with self._lock:
            at, name, words = self._tickets.get(ticket, (0.0, "", ()))
            if not words or time.monotonic() - at > TICKET_S:
                raise ConfigurationError("look at the plan again: it is too old")
            beside = ACTIONS[name].beside
            running = self._jobs.get(beside)
            if running is not None and running.outcome is None:
                raise Refused(f"{running.action} is running")
            del self._tickets[ticket]
            job = self._jobs[beside] = Job(name, beside, time.time())
        thread = threading.Thread(target=self._run, args=(job, words), name="st-action", daemon=True)
        self._threads[beside] = thread
        thread.start()

    def stop(self) -> None:
        """Wait for the actions that run; a switch is never cut off."""
        until = time.monotonic() + PLAN_S
        for thread in list(self._threads.values()):
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, job: Job, words: tuple[str, ...]) -> None:
        outcome: dict[str, Any] = {"outcome": "error", "exit_code": 3, "message": "the command did not start"}
        try:
            with subprocess.Popen(
                self._command(words),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is for the console, which waits
            ) as process:
                assert process.stderr is not None and process.stdout is not None
                for line in process.stderr:
                    told = _object(line) or {}
                    if "progress" in told:
                        job.progress = told
                    else:
                        job.lines.append(str(told.get("line", line)).strip()[:300])
                outcome = _object(process.stdout.read()) or outcome
        except OSError as error:
            outcome["message"] = str(error)
        finally:
            told = {
                name: outcome.get(name) for name in ("outcome", "exit_code", "message", "hint", "reasons")
            }
            job.outcome = told | {"reasons": told["reasons"] or _found(outcome)}
            self.changed()

    @staticmethod
    def _command(words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "st_migrate", *words]

    def _environment(self) -> dict[str, str]:
        urls = {
            f"ST_{_DATABASE}": f"sqlite:///{self._pair.path}",
            f"ST_{_SHADOW}": self._pair.postgres.render_as_string(hide_password=False),
        }
        return {
            **os.environ,
            **urls,
            CALLED_BY: "console",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }


def _found(outcome: Mapping[str, Any]) -> list[str]:
    """What a preflight found, those first that block."""
    found = sorted(outcome.get("findings") or (), key=lambda one: one["severity"] != "blocks")
    return [
        f"{one['severity']}: {where and f'{where} '}{one['reason']} ({one['remedy']})"
        for one in found
        for where in [".".join(filter(None, (one["table"], one["column"])))]
    ]


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
