"""What people see: results on stdout, everything that happens meanwhile on stderr.

With --json stdout holds exactly one object. Bars are drawn only where stderr is a terminal that can move
its cursor; elsewhere the same steps are plain lines. Data goes out through `plain`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from migration.common.outcome import Exit, Outcome
from migration.common.plain import any_encoding, inline, label, measured, plain

_STYLES = {Exit.DONE: "green", Exit.FINDINGS: "yellow", Exit.USAGE: "red", Exit.FAILED: "red"}
_FILE_WIDTH = 200
Advance = Callable[[str, int, int | None], None]


class Renderer:
    """Writes to the two streams as they are when it is made.

    Args:
        as_json: the result goes out as one JSON object instead of text.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)
        self._emitted = False

    def line(self, text: str) -> None:
        """One step, on stderr."""
        self._err.print(plain(text), style="dim")

    def result(self, command: str, outcome: Outcome) -> None:
        """The outcome: one object on stdout, or text; an error always also as one line on stderr."""
        failed = "error" in outcome.data
        if self._as_json:
            print(json.dumps(outcome.as_json(command), default=str), file=sys.stdout, flush=True)
        if failed:
            hint = outcome.data.get("hint")
            self._err.print(plain(f"{outcome.message}{f' - {hint}' if hint else ''}"), style="red")
            for reason in outcome.data.get("reasons", ()):
                self._err.print(plain(f"  - {reason}"), style="red")
        elif not self._as_json:
            self._text(outcome)

    def screen(self, outcome: Outcome) -> None:
        """The outcome on a cleared terminal, for --watch."""
        if self._out.is_terminal:
            self._out.clear()
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
    def progress(self, title: str) -> Iterator[Advance]:
        """A bar per name, for long work.

        Yields:
            A function (name, rows done since the last call, rows expected in all or None).
        """
        if not self._err.is_terminal or self._err.is_dumb_terminal:
            yield _Lines(self.line, title).advance
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err, transient=True) as progress:
            tasks: dict[str, Any] = {}

            def advance(name: str, done: int, total: int | None) -> None:
                if name not in tasks:
                    tasks[name] = progress.add_task(plain(f"{title} {name}"), total=total)
                progress.update(tasks[name], advance=done, total=total)

            yield advance


def _console(stream: TextIO) -> Console:
    """A console that shows text as it is, and does not fold what goes to a file or a pipe."""
    any_encoding(stream)
    return Console(
        file=stream,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
        width=None if stream.isatty() else _FILE_WIDTH,
    )


class _Lines:
    """Progress where there is no terminal: a line every few seconds at most."""

    EVERY_S = 5.0

    def __init__(self, line: Callable[[str], None], title: str) -> None:
        self._line = line
        self._title = title
        self._done: dict[str, int] = {}
        self._next = time.monotonic() + self.EVERY_S

    def advance(self, name: str, done: int, total: int | None) -> None:
        self._done[name] = self._done.get(name, 0) + done
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self.EVERY_S
            self._line(f"{self._title} {name}: {self._done[name]} of {total or '?'} rows")


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=label(title), title_justify="left", box=None, pad_edge=False)
    names = list(rows[0])
    for name in names:
        table.add_column(label(name), overflow="fold")
    for row in rows:
        table.add_row(*("" if row.get(n) is None else measured(n, row[n]) for n in names))
    return table
