"""What people see of a run: one line per step with the time since its start, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


class Lines:
    """Lines on stdout.

    Args:
        console: where to write; a new one on stdout by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def title(self, text: str) -> None:
        """The first line."""
        self._console.print(f"[bold]{escape(text)}[/bold]")

    def step(self, text: str, style: str = "") -> None:
        """One line with its time."""
        self._console.print(f"[dim]{self.elapsed:6.1f} s[/dim]  {escape(text)}", style=style)

    def good(self, text: str) -> None:
        """A step that went as it should."""
        self.step(text, "green")

    def bad(self, text: str) -> None:
        """A step that did not."""
        self.step(text, "red")

    def plain(self, text: str) -> None:
        """A line without a time."""
        self._console.print(escape(text))

    def table(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Names and values; numbers with thousands separators."""
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, value in rows:
            table.add_row(escape(name), escape(shown(value)))
        self._console.print()
        self._console.print(table)


def shown(value: Any) -> str:
    """A figure as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
