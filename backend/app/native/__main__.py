"""`python -m app.native`: what PostgreSQL can do beyond SQLite, once it is alone.

Exit codes: 0 done, 1 findings or refused, 2 usage, 3 failed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from app.core.command import DONE, FAILED, FINDINGS, parser_of, run
from app.db.session.runtime import runtime
from app.native import branch
from app.native.aside import bring_back, set_aside
from app.native.guard import require_alone, require_ready
from app.native.indexes import unneeded
from app.native.online import NeverFree
from app.native.report import for_new_rows_only, stand_against


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    return run(_parser(), arguments, {NeverFree: FAILED})


def _status(_chosen: argparse.Namespace) -> tuple[int, Any]:
    require_alone(runtime())
    with branch.connect(runtime()) as connection:
        return DONE, {
            "revision": branch.current(connection),
            "newest": branch.scripts().get_current_head(),
            "for_new_rows_only": for_new_rows_only(connection),
        }


def _report(_chosen: argparse.Namespace) -> tuple[int, Any]:
    require_alone(runtime())
    with branch.connect(runtime()) as connection:
        require_ready(connection)
        against = stand_against(connection)
    return (FINDINGS if against else DONE), [asdict(one) for one in against]


def _indexes(_chosen: argparse.Namespace) -> tuple[int, Any]:
    require_alone(runtime())
    with branch.connect(runtime()) as connection:
        found = unneeded(connection)
    return (FINDINGS if found.repeats else DONE), asdict(found)


def _upgrade(chosen: argparse.Namespace) -> tuple[int, Any]:
    return DONE, {"run": branch.upgrade(runtime(), keep=chosen.keep)}


def _downgrade(_chosen: argparse.Namespace) -> tuple[int, Any]:
    return DONE, {"undone": branch.downgrade(runtime())}


def _set_aside(chosen: argparse.Namespace) -> tuple[int, Any]:
    require_alone(runtime())
    with branch.connect(runtime()) as connection:
        require_ready(connection)
        branch.require_only_run(connection)
        return DONE, {"set_aside": set_aside(connection, chosen.constraint)}


def _bring_back(chosen: argparse.Namespace) -> tuple[int, Any]:
    require_alone(runtime())
    with branch.connect(runtime()) as connection:
        branch.require_only_run(connection)
        return DONE, {"brought_back": bring_back(connection, chosen.constraint)}


def _parser() -> argparse.ArgumentParser:
    parser, commands = parser_of(
        "app.native",
        __doc__,
        (
            ("status", _status, "the branch's revision in the database, and the newest"),
            ("report", _report, "rows that stand against the constraints; changes nothing"),
            (
                "indexes",
                _indexes,
                "indexes that repeat another one, and that no query has used; changes nothing",
            ),
            ("set-aside", _set_aside, "move what stands against a constraint into a table of its own"),
            ("bring-back", _bring_back, "put back what was set aside for a constraint"),
            ("upgrade", _upgrade, "run the branch"),
            ("downgrade", _downgrade, "take the branch back"),
        ),
    )
    commands["upgrade"].add_argument(
        "--keep", action="store_true", help="leave rows that break a check or foreign key as they are"
    )
    for name in ("set-aside", "bring-back"):
        commands[name].add_argument("constraint", help="its name in the report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
