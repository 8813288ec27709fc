"""`python -m app.native`: what PostgreSQL can do beyond SQLite, once it is alone.

Exit codes: 0 done, 1 findings or refused, 2 usage, 3 failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.db.common.errors import Refused, SwitchError
from app.db.session.runtime import runtime
from app.native import branch
from app.native.guard import require_alone, require_ready
from app.native.online import NeverFree
from app.native.report import stand_against

DONE, FINDINGS, FAILED = 0, 1, 3


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        code, answer = chosen.command(chosen)
    except Refused as error:
        code, answer = FINDINGS, {"refused": error.message, "hint": error.hint}
    except (SQLAlchemyError, SwitchError, NeverFree) as error:
        code, answer = FAILED, {"error": str(getattr(error, "orig", None) or error).splitlines()[0]}
    finally:
        runtime().stop()
    print(json.dumps(answer, indent=None if chosen.json else 2))
    return int(code)


def _status(_chosen: argparse.Namespace) -> tuple[int, Any]:
    require_alone(runtime())
    with branch._connect(runtime()) as connection:
        return DONE, {"revision": branch.current(connection), "newest": branch.scripts().get_current_head()}


def _report(_chosen: argparse.Namespace) -> tuple[int, Any]:
    require_alone(runtime())
    with branch._connect(runtime()) as connection:
        require_ready(connection)
        against = stand_against(connection)
    return (FINDINGS if against else DONE), [asdict(one) for one in against]


def _upgrade(chosen: argparse.Namespace) -> tuple[int, Any]:
    return DONE, {"run": branch.upgrade(runtime(), keep=chosen.keep)}


def _downgrade(_chosen: argparse.Namespace) -> tuple[int, Any]:
    return DONE, {"undone": branch.downgrade(runtime())}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.native", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, about in (
        ("status", _status, "the branch's revision in the database, and the newest"),
        ("report", _report, "rows that stand against the constraints; changes nothing"),
        ("upgrade", _upgrade, "run the branch"),
        ("downgrade", _downgrade, "take the branch back"),
    ):
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=command)
        if command is _upgrade:
            added.add_argument(
                "--keep", action="store_true", help="leave rows that break a check or foreign key as they are"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
