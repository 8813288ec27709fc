"""`python -m app.retention`: old rows go into archives and come back.

Exit codes: 0 done, 1 findings (rows that differ, damaged files, a run that ended early), 2 usage, 3 failed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from app.core.command import DONE, FAILED, FINDINGS, USAGE, parser_of, run
from app.core.config import get_settings
from app.core.time_utils import utc_now
from app.db import SessionLocal
from app.retention.archive import BadArchive, FolderInUse, check, listed
from app.retention.old.rules import BadRule
from app.retention.report import dry_run, status
from app.retention.restore import HOLD, restore
from app.retention.run import Retention, archive_folder, shadow_lag_seconds

_CODES = {BadRule: USAGE, BadArchive: USAGE, FolderInUse: FINDINGS, OSError: FAILED}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    return run(_parser(), arguments, _CODES)


def _run(_chosen: argparse.Namespace) -> tuple[int, Any]:
    retention = Retention(SessionLocal, get_settings(), lag_seconds=shadow_lag_seconds)
    signal.signal(signal.SIGTERM, lambda *_: retention.stop())
    result = retention.run()
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
        hold = timedelta(days=chosen.hold_days)
        found = restore(SessionLocal, path, folder, utc_now(), hold, other_database=chosen.other_database)
        answers[path.name] = vars(found)
        code = FINDINGS if found.differing or found.replaced or found.refused else code
    return code, answers


def _parser() -> argparse.ArgumentParser:
    parser, commands = parser_of(
        "app.retention",
        __doc__,
        (
            ("run", _run, "archive and delete what is old and needed by nothing"),
            ("dry-run", _dry_run, "count what would go and what stays, by reason; changes nothing"),
            ("status", _status, "rules, last run, archives"),
            ("check", _check, "read every archive and compare its checksum"),
            ("restore", _restore, "bring an archive's rows back"),
        ),
    )
    commands["restore"].add_argument("archive", type=Path, nargs="+")
    commands["restore"].add_argument(
        "--hold-days", type=int, default=HOLD.days, help="how long no run takes them out again"
    )
    commands["restore"].add_argument(
        "--other-database",
        action="store_true",
        help="also an archive of another database, whose ids mean other rows",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
