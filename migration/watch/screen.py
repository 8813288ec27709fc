"""`status --watch`: the whole terminal, drawn again in place. Nothing on it comes from a database unescaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from migration.common.pace import Limits, Progress, duration
from migration.common.plain import plain
from migration.watch.moving import Watched
from migration.watch.status import Status

LINE = ("not prepared", "copying", "replicating", "completed")
TABLES = 12  # of the copy that are shown, those that are not done first


class Screen:
    """Draws one status after the other; the rate of what is under way is measured between them."""

    def __init__(self) -> None:
        self._watched = Watched()

    def draw(self, status: Status) -> RenderableType:
        """All of the screen."""
        data = status.as_json()
        parts: list[RenderableType] = [_head(data), _figures(data)]
        if (moving := self._watched.at(status.moving)) is not None:
            parts.append(_bar(moving.stage, moving.progress))
        if status.copy is not None and not status.copy.done:
            parts.append(_tables(data["copy"]["tables"]))
        if data["blocks"]:
            parts.append(Panel(Text("\n".join(map(plain, data["blocks"]))), title="blocks", style="yellow"))
        otherwise = "nothing" if data["state"] == "completed" else "settle what blocks"
        following = plain(data["next"] or otherwise)
        parts.append(
            Text.assemble(("next: ", "dim"), (following, "bold"), ("    Ctrl-C ends this view", "dim"))
        )
        return Group(*parts)


def _head(data: Mapping[str, Any]) -> RenderableType:
    state = data["state"].replace("_", " ")
    steps = Text()
    for n, step in enumerate(LINE):
        steps.append(" > " if n else "", "dim")
        steps.append(step, "bold reverse" if step == state else "dim")
    if state not in LINE:
        steps.append(f"   {plain(state)}", "bold red")
    return Panel(steps, title="st-migrate", subtitle=f"epoch {data['epoch']}, primary {data['primary']}")


def _figures(data: Mapping[str, Any]) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    for side, found in data["sides"].items():
        word = "takes writes" if found["writable"] else "fenced" if found["prepared"] else "not prepared"
        if not found["reachable"]:
            word = f"cannot be read: {found['error']}"
        table.add_row(side, plain(word), plain(found["url"]))
    if lag := data["lag"]:
        table.add_row("lag", f"{lag['entries']:,} changes, {lag['seconds']:.1f} s", str(data["apply"] or ""))
    if verify := data["verify"]:
        ended = "under way" if verify["finished_at"] is None else f"{verify['mismatches']} mismatches"
        table.add_row("verify", ended, f"{verify['rows']:,} rows")
    if held := data["quarantine"]:
        table.add_row("quarantine", f"{held['rows']} rows", f"{held['unaccepted']} not accepted")
    if limits := data["throttle"]:
        table.add_row("throttle", plain(str(Limits(**limits))))
    if attempt := data["attempt"]:
        left = attempt["seconds_left"]
        told = "" if left is None else f"{duration(left)} left"
        table.add_row("switch", plain(str(attempt["state"])), told)
    return table


def _bar(stage: str, now: Progress) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_row(stage, ProgressBar(total=1.0, completed=now.fraction or 0.0, width=40), str(now))
    return grid


def _tables(rows: list[Mapping[str, Any]]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for name in ("table", "rows", "of"):
        table.add_column(name, justify="left" if name == "table" else "right")
    waiting = [row for row in rows if not row["done"]]
    for row in waiting[:TABLES]:
        table.add_row(plain(row["table"]), f"{row['rows']:,}", f"{row['expected']:,}")
    if len(waiting) > TABLES:
        table.add_row(f"and {len(waiting) - TABLES} more", "", "")
    return table
