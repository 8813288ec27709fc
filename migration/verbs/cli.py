"""`st-migrate`: moves a live database from SQLite to PostgreSQL and back. The verbs stand beside this file.

preflight -> prepare -> backfill -> verify -> cutover <-> rollback -> complete
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import metadata
from typing import Annotated

import typer

from migration.verbs import console as verbs_console
from migration.verbs import ends as verbs_ends
from migration.verbs import frame
from migration.verbs import lint as verbs_lint
from migration.verbs import move as verbs_move
from migration.verbs import schema as verbs_schema
from migration.verbs import switch as verbs_switch
from migration.verbs import watch as verbs_watch

app = typer.Typer(
    name="st-migrate",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"st-migrate {metadata.version('st-migrate')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Move a live database from SQLite to PostgreSQL, and back. `status` always says what is next."""


verbs_move.register(app)
verbs_switch.register(app)
verbs_ends.register(app)
verbs_watch.register(app)
verbs_schema.register(app)
verbs_lint.register(app)
verbs_console.register(app)


# Long reading and writing that can wait; requests that are being served meanwhile cannot.
PATIENT_VERBS = ("preflight", "backfill", "verify")


def main(arguments: list[str] | None = None) -> int:
    """The console script: runs one command line and returns its exit code."""
    if arguments is None and any(verb in sys.argv[1:2] for verb in PATIENT_VERBS):
        with suppress(OSError):
            os.nice(5)
    return frame.main(app, verbs_schema.in_full(sys.argv[1:] if arguments is None else arguments))
