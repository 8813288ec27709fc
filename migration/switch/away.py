"""A switch of an application that cannot follow it in its own process: stopped, switched, started again.

Order: the gates are asked while the application runs, so that it is not stopped for a switch that would be refused.
Then the stop command runs, then the switch, then the start command, which is told by its environment which side is
primary. Whatever happens after the stop, the start command runs, on the side that is primary then. The fence stands
in both databases all the same: a process that was not stopped is refused, and loses nothing.

Receivers that want to be told, or have a say, are asked before the stop and told after the start. So no slow
receiver keeps the application away.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from app.db.common.errors import Refused, SwitchError
from app.db.common.urls import Pair, Side
from app.db.sides.stores import Stores
from app.db.switch.guarded import Told
from app.db.switch.moments import Moments
from migration.common.sides import named_for_commands

T = TypeVar("T")
Report = Callable[[str], None]


@dataclass(frozen=True)
class Hooks:
    """The application's own commands, as a shell takes them. Empty ones are left out. `limit_s` is for each."""

    stop: str = ""
    start: str = ""
    limit_s: float = 60.0

    def __bool__(self) -> bool:
        return bool(self.stop or self.start)


def facts(pair: Pair, side: Side) -> dict[str, str]:
    """What a command is told: the side that is primary, and how to connect to it."""
    return {"ST_PRIMARY": str(side), **named_for_commands(pair, side)}


class NotAgain(Exception):
    """A refusal after the application was stopped, or may be: a window must not do that again and again."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


def told_around(told: Told, moments: Moments, away: Callable[[], T]) -> T:
    """Have a switch without the application told of: its beginning while that serves, its end when it serves again.

    Raises:
        Refused: the command of `before-fence` said no, and nothing was stopped.
        NotAgain: a refusal after that.
        SwitchError: see `while_away`.
    """
    stopping = False
    try:
        told.before()
        stopping = True
        with moments.held_back():
            return away()
    except BaseException as error:
        told.failed(error)
        if stopping and isinstance(error, Refused):
            raise NotAgain(error) from error
        raise


def while_away(
    hooks: Hooks, pair: Pair, stores: Stores, report: Report, switch: Callable[[], T]
) -> tuple[T, float]:
    """Stop the application, switch, start it.

    Returns:
        What the switch returned, and the seconds from the beginning of the stop to the end of the start.

    Raises:
        Refused: the stop command failed. Nothing was switched, and the application was started again.
        SwitchError: the switch was made, or not, and the start command failed. Says which side is primary.
    """
    began = time.monotonic()
    try:
        if hooks.stop and (failed := _run(hooks.stop, facts(pair, _primary(stores)), hooks.limit_s, report)):
            raise Refused(
                f"the application was not stopped: {failed}",
                hint="nothing was switched; mend the command of --stop and repeat",
            )
        done = switch()
    except BaseException:
        _start(hooks, pair, stores, report)
        raise
    failed = _start(hooks, pair, stores, report)
    away_s = time.monotonic() - began
    if failed:
        raise SwitchError(
            f"{_primary(stores)} is primary, and the application was not started: {failed}",
            hint="start it by hand on that side; st-migrate status shows the pair",
        )
    return done, away_s


def _start(hooks: Hooks, pair: Pair, stores: Stores, report: Report) -> str:
    return _run(hooks.start, facts(pair, _primary(stores)), hooks.limit_s, report) if hooks.start else ""


def _primary(stores: Stores) -> Side:
    """As SQLite's control row has it, which is up to date when a switch has returned."""
    return stores.sqlite.read_control().primary


def _run(command: str, told: dict[str, str], limit_s: float, report: Report) -> str:
    """Run a command by the shell, its output on stderr. Returns what went wrong, empty if nothing did."""
    report(command)
    try:
        code = subprocess.run(
            command, shell=True, env={**os.environ, **told}, stdout=2, timeout=limit_s, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return f"`{command}` took longer than {limit_s:.0f} s"
    return f"`{command}` ended with {code}" if code else ""
