"""What people see: results on stdout, everything that happens meanwhile on stderr.

With --json stdout holds exactly one object. A bar is drawn only where stderr is a terminal that can move its
cursor. Elsewhere the same steps are plain lines. Data goes out through `plain`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from migration.common import pace
from migration.common.outcome import Exit, Outcome
from migration.common.plain import inline, label, measured, plain

_STYLES = {Exit.DONE: "green", Exit.FINDINGS: "yellow", Exit.USAGE: "red", Exit.FAILED: "red"}
_FILE_WIDTH = 200
Advance = Callable[[str, int, int | None], None]


class Renderer:
    """Writes to the two streams as they are when it is made.

    Args:
        as_json: the result goes out as one JSON object instead of text.
        lines_of_json: what goes out on stderr is one JSON object per line.
    """

    def __init__(self, *, as_json: bool, lines_of_json: bool = False) -> None:
        self._as_json = as_json
        self._lines_of_json = lines_of_json
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    @property
    def lost(self) -> OSError | None:
        """Why results cannot be written. None while they can be."""
        found: OSError | None = getattr(self._out.file, "lost", None)
        return found

    def line(self, text: str) -> None:
        """One step, on stderr."""
        if self._lines_of_json:
            self._object({"line": text, "at": time.time()})
        else:
            self._err.print(plain(text), style="dim")

    def result(self, command: str, outcome: Outcome) -> None:
        """The outcome: one object on stdout, or text; an error also as lines on stderr.

        Not where both streams hold objects: then the result is the last of them.
        """
        failed = "error" in outcome.data
        if self._as_json:
            print(json.dumps(outcome.as_json(command), default=str), file=sys.stdout, flush=True)
        if failed and self._as_json and self._lines_of_json:
            return
        if failed and self._lines_of_json:
            self.line(outcome.message)
        elif failed:
            hint = outcome.data.get("hint")
            self._err.print(plain(f"{outcome.message}{f' - {hint}' if hint else ''}"), style="red")
            for reason in outcome.data.get("reasons", ()):
                self._err.print(plain(f"  - {reason}"), style="red")
        elif not self._as_json:
            self._text(outcome)

    @contextmanager
    def full_screen(self) -> Iterator[Callable[[RenderableType], None] | None]:
        """The whole terminal. Yields a function that draws on it, None where stdout is no such terminal."""
        if not self._out.is_terminal or self._out.is_dumb_terminal:
            yield None
            return
        with Live(console=self._out, screen=True, auto_refresh=False) as live:
            yield lambda drawn: live.update(drawn, refresh=True)

    def screen(self, outcome: Outcome) -> None:
        """The outcome as text, one look after the other."""
        self._text(outcome)

    def _text(self, outcome: Outcome) -> None:
        self._out.print(plain(outcome.message), style=_STYLES[outcome.exit])
        if outcome.lines is None:
            self._details(outcome.data)
        for line in outcome.lines or ():
            self._out.print(plain(line))

    def _details(self, data: Mapping[str, Any]) -> None:
        for name, value in data.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                self._out.print(_table(name, value))
            elif isinstance(value, list):
                for item in value:
                    self._out.print(plain(f"{label(name)}: {item}"))
            elif isinstance(value, dict):
                self._out.print(plain(f"{label(name)}: {inline(value)}"))
            elif value is not None:
                self._out.print(plain(f"{label(name)}: {measured(name, value)}"))

    @contextmanager
    def progress(self, title: str, expected: int | None = None, unit: str = "rows") -> Iterator[Advance]:
        """One line for all of a long work: how far it is, what it is at, how fast, and when it will be done.

        Args:
            title: what is being done.
            expected: rows in all; None: as many as the calls tell.
            unit: what is counted where it is no rows.

        Yields:
            A function (name, rows done since the last call, rows expected of that name or None).
        """
        if self._lines_of_json:
            yield _Told(self._json_line, title, expected, unit).advance
            return
        if not self._err.is_terminal or self._err.is_dumb_terminal:
            yield _Told(self._text_line, title, expected, unit).advance
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[told]}", markup=False),
        )
        with Progress(*columns, console=self._err, transient=True) as bars:
            task = bars.add_task(plain(title), total=expected, told="")

            def show(title: str, name: str, now: pace.Progress, unit: str) -> None:
                bars.update(
                    task,
                    description=plain(f"{title} {name}"),
                    completed=now.done,
                    total=now.expected,
                    told=now.told(unit),
                )

            yield _Told(show, title, expected, unit, every_s=0.0).advance

    def _text_line(self, title: str, name: str, now: pace.Progress, unit: str) -> None:
        self.line(f"{title} {name}: {now.told(unit)}")

    def _json_line(self, title: str, name: str, now: pace.Progress, unit: str) -> None:
        self._object({"progress": title, "at": time.time(), "name": name, "unit": unit, **now.as_json()})

    def _object(self, told: Mapping[str, Any]) -> None:
        print(json.dumps(told), file=sys.stderr, flush=True)


def _console(stream: TextIO) -> Console:
    """A console that shows text as it is, and does not fold what goes to a file or a pipe."""
    return Console(
        file=stream,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
        width=None if stream.isatty() else _FILE_WIDTH,
    )


class _Told:
    """Adds up what is done, and shows it every few seconds at most.

    Args:
        show: called with the title, the name of what is being done, how far all of it is, and in which unit.
        every_s: seconds between two lines. None for `EVERY_S`.
    """

    EVERY_S = 5.0

    def __init__(
        self,
        show: Callable[[str, str, pace.Progress, str], None],
        title: str,
        expected: int | None,
        unit: str,
        every_s: float | None = None,
    ) -> None:
        self._show = show
        self._title = title
        self._expected = expected
        self._unit = unit
        self._every_s = self.EVERY_S if every_s is None else every_s
        self._done = 0
        self._totals: dict[str, int | None] = {}
        self._pace = pace.Pace()
        self._next = 0.0

    def advance(self, name: str, done: int, total: int | None) -> None:
        self._done += done
        self._totals[name] = total
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every_s
            self._show(self._title, name, self._pace.at(self._done, self._in_all()), self._unit)

    def _in_all(self) -> int | None:
        if self._expected is not None:
            return self._expected
        told = [total for total in self._totals.values() if total is not None]
        return sum(told) if len(told) == len(self._totals) else None


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=label(title), title_justify="left", box=None, pad_edge=False)
    names = list(rows[0])
    for name in names:
        table.add_column(label(name), overflow="fold")
    for row in rows:
        table.add_row(*("" if row.get(n) is None else measured(n, row[n]) for n in names))
    return table
