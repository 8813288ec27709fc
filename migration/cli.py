"""`st-migrate`: moves a live database from SQLite to PostgreSQL and back. Verbs are in verbs_*.py.

preflight -> prepare -> backfill -> verify -> cutover <-> rollback -> complete
"""

from __future__ import annotations

import sys

import typer

from migration import frame, verbs_lint, verbs_move, verbs_switch, verbs_watch

app = typer.Typer(
    name="st-migrate",
    help="Move a live database from SQLite to PostgreSQL, and back. `status` always says what is next.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
verbs_move.register(app)
verbs_switch.register(app)
verbs_watch.register(app)
verbs_lint.register(app)


def main(arguments: list[str] | None = None) -> int:
    """The console script: runs one command line and returns its exit code."""
    return frame.main(app, sys.argv[1:] if arguments is None else arguments)
