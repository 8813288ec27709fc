"""Examples for `--help`, one or two per command, and the page for `man` that is made of all help texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_SIDES = "--sqlite app.db --postgres postgresql://user@host/app"
EXAMPLES: dict[str, tuple[str, ...]] = {
    "preflight": (
        f"preflight {_SIDES}",
        "preflight --leave-out cache --leave-out person.thumbnail",
        "preflight --write advice",
    ),
    "prepare": (f"prepare {_SIDES}", "prepare --schema existing --discard-target"),
    "backfill": (f"backfill {_SIDES}", "backfill --rate 20000 --workers 2"),
    "worker": (f"worker {_SIDES}", "worker --until-drained"),
    "verify": (f"verify {_SIDES}", "verify --table person --repair"),
    "run": (f"run {_SIDES}", "run --cutover"),
    "copy": (f"copy {_SIDES}",),
    "backup": ("backup --sqlite app.db", "backup --to /mnt/backups"),
    "cutover": (
        "cutover --dry-run",
        "cutover --within 22:00-23:30",
        "cutover --stop 'systemctl stop shop' --start 'systemctl start shop'",
    ),
    "rollback": ("rollback --dry-run", f"rollback {_SIDES}"),
    "recover": (f"recover {_SIDES}",),
    "complete": (f"complete {_SIDES}",),
    "abort": (f"abort {_SIDES}",),
    "status": (f"status {_SIDES}", "status --watch --every 1"),
    "history": ("history --limit 20 --json", "history --export history.jsonl"),
    "pause": (f"pause {_SIDES}",),
    "resume": (f"resume {_SIDES}",),
    "throttle": ("throttle --copy-rate 5000 --verify-rate 20000", "throttle --off"),
    "quarantine list": (f"quarantine list {_SIDES}",),
    "quarantine show": ("quarantine show person 4711",),
    "quarantine accept": ("quarantine accept person 4711 --by asha",),
    "quarantine retry": ("quarantine retry --all",),
    "schema upgrade": (f"schema upgrade {_SIDES}",),
    "schema run": (f"schema {_SIDES} -- ./manage.py migrate",),
    "console": (f"console {_SIDES}", "console --allow-actions --port 8765"),
    "lint": ("lint backend migration",),
}


def epilog(command: str) -> str | None:
    """What stands below the options in a command's help. None where there is no example."""
    lines = [f"st-migrate {line}" for line in EXAMPLES.get(command, ())]
    # A paragraph of its own for each: help folds lines.
    return "\n\n".join(["Examples:", *lines]) if lines else None


def manual(group: Any, version: str) -> str:
    """The page for `man`, in its own markup, of a click group and everything in it."""
    lines = [
        f'.TH ST-MIGRATE 1 "" "st-migrate {version}"',
        ".SH NAME",
        "st-migrate \\- moves a live database from SQLite to PostgreSQL, and back",
        ".SH SYNOPSIS",
        ".B st-migrate",
        ".I COMMAND",
        "[--sqlite FILE] [--postgres URL] [--json] [OPTIONS]",
        ".SH DESCRIPTION",
        _roff(group.help or ""),
        ".PP",
        "preflight, prepare, backfill, verify, cutover (and rollback), complete: in this order.",
        ".SH COMMANDS",
    ]
    for name, command in commands(group):
        lines += [f".SS {_roff(name)}", _roff(command.help or "")]
        for parameter in command.params:
            if parameter.param_type_name == "option" and "--help" not in parameter.opts:
                lines += [".TP", f"\\fB{_roff(', '.join(parameter.opts))}\\fR", _roff(parameter.help or "")]
        for line in EXAMPLES.get(name, ()):
            lines += [".PP", ".RS", _roff(f"st-migrate {line}"), ".RE"]
    lines += [
        ".SH EXIT STATUS",
        "0: done or clean. 1: something was found, or a gate said no. 2: a wrong call. 3: a failure; the same "
        "command goes on.",
        ".SH ENVIRONMENT",
        ".B ST_DATABASE_URL",
        "and",
        ".B ST_SHADOW_DATABASE_URL",
        "name the two databases where the options do not.",
    ]
    return "\n".join(lines) + "\n"


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of a group, those of its groups too, by what one types for it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _roff(text: str) -> str:
    """A text as one paragraph: no line of it begins with a mark of the markup."""
    return " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-").lstrip(".'")
