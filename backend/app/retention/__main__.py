"""`python -m app.retention`: old rows go into archives and come back.

Exit codes: 0 done, 1 findings (rows that differ, damaged files, a run that ended early), 2 usage, 3 failed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import get_settings
from app.core.time_utils import utc_now
from app.db import SessionLocal
from app.db.common.errors import SwitchError
from app.db.session.runtime import runtime
from app.retention.archive import BadArchive, FolderInUse, check, listed
from app.retention.old.rules import BadRule
from app.retention.report import dry_run, status
from app.retention.restore import HOLD, restore
from app.retention.run import Retention, archive_folder, shadow_lag_seconds

DONE, FINDINGS, USAGE, FAILED = 0, 1, 2, 3


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    code: int
    try:
        code, answer = chosen.command(chosen)
    except (BadRule, BadArchive) as error:
        code, answer = USAGE, {"error": str(error)}
    except FolderInUse as error:
        code, answer = FINDINGS, {"error": str(error)}
    except (SQLAlchemyError, SwitchError, OSError) as error:
        code, answer = FAILED, {"error": str(getattr(error, "orig", None) or error).splitlines()[0]}
    finally:
        runtime().stop()
    print(json.dumps(answer, indent=None if chosen.json else 2, ensure_ascii=False))
    return code


def _run(_chosen: argparse.Namespace) -> tuple[int, Any]:
    run = Retention(SessionLocal, get_settings(), lag_seconds=shadow_lag_seconds)
    signal.signal(signal.SIGTERM, lambda *_: run.stop())
    result = run.run()
    return (FINDINGS if result.error or result.damaged else DONE), result.as_dict()


def _dry_run(_chosen: argparse.Namespace) -> tuple[int, Any]:
    with SessionLocal() as db:
        return DONE, dry_run(db, get_settings(), utc_now())


def _status(_chosen: argparse.Namespace) -> tuple[int, Any]:
    found = status(get_settings())
    return (FINDINGS if found["damaged"] else DONE), found


def _check(_chosen: argparse.Namespace) -> tuple[int, Any]:
    damaged, found = {}, listed(archive_folder(get_settings()))
    for path in found:
        try:
            check(path)
        except BadArchive as error:
            damaged[path.name] = str(error)
    return (FINDINGS if damaged else DONE), {"archives": len(found), "damaged": damaged}


def _restore(chosen: argparse.Namespace) -> tuple[int, Any]:
    folder, answers, code = archive_folder(get_settings()), {}, DONE
    for path in chosen.archive:
        found = restore(SessionLocal, path, folder, utc_now(), timedelta(days=chosen.hold_days))
        answers[path.name] = vars(found)
        code = FINDINGS if found.differing or found.refused else code
    return code, answers


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.retention", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, about in (
        ("run", _run, "archive and delete what is old and needed by nothing"),
        ("dry-run", _dry_run, "count what would go and what stays, by reason; changes nothing"),
        ("status", _status, "rules, last run, archives"),
        ("check", _check, "read every archive and compare its checksum"),
        ("restore", _restore, "bring an archive's rows back"),
    ):
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=command)
        if command is _restore:
            added.add_argument("archive", type=Path, nargs="+")
            added.add_argument(
                "--hold-days", type=int, default=HOLD.days, help="how long no run takes them out again"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
