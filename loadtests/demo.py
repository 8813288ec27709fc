"""The demo: a live database moves from SQLite to PostgreSQL, back, and there again, under webhook traffic.

A backend with two workers serves on SQLite; a sender that behaves like TradingView keeps delivering. The
operator's own commands move the primary; see `loadtests.run.move` for the steps. Then the oracle compares every
answer the sender was given with both databases. Exit code 1 if anything was lost, doubled, altered, failed
or different.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from loadtests.run.move import Move
from loadtests.show.lines import Story
from loadtests.show.summary import figures, table_rows
from loadtests.stage.processes import Broken
from loadtests.stage.stage import DATABASE, Stage

TARGET_RATE = 60.0


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rate", type=float, default=TARGET_RATE, help="webhooks per second to aim at")
    parser.add_argument("--quick", action="store_true", help="watch less between the steps")
    parser.add_argument("--keep", action="store_true", help="leave the servers up until Ctrl-C")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--seed", type=int, default=1, help="seed of the database and the payloads")
    parser.add_argument("--chaos", action="store_true", help="kill -9 at random moments, and repeat commands")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    story = Story()
    story.title("A live SigmaTrader moves from SQLite to PostgreSQL, back, and there again")
    with Stage(seed=options.seed) as stage:
        move = Move(
            stage,
            story,
            rate=options.rate,
            observe_s=1.0 if options.quick else 4.0,
            seed=options.seed,
            chaos=options.chaos,
        )
        try:
            return _play(move, options)
        except KeyboardInterrupt:
            story.bad("interrupted: everything that was started is being ended")
            return 130
        finally:
            move.stop()


def _play(move: Move, options: argparse.Namespace) -> int:
    try:
        move.play()
    except Broken as broken:
        move.story.bad(str(broken))
        move.run.problems.append(str(broken))
    found = (figures(move) if move.sender else {}) | {"clean": move.clean, "problems": move.run.problems}
    if move.sender:
        move.story.table(table_rows(found))
    for finding in move.verdict.findings[:10]:
        move.story.bad(f"{finding.kind} on {finding.side}: {finding.what}: {finding.detail}")
    for problem in move.run.problems:
        move.story.bad(problem)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if move.clean:
        killed = f", in spite of {move.chaos.kills} kills" if move.chaos else ", and none failed"
        move.story.good(f"no webhook was lost, doubled or altered{killed}; both databases are equal")
    else:
        move.story.bad("NOT clean; what the backend wrote last, requests left out:")
        log = move.stage.backend_log.read_text(encoding="utf-8", errors="replace") if move.sender else ""
        told = [line for line in log.splitlines() if '"sigma.request"' not in line]
        move.story.plain("\n".join(told[-15:]))
    if options.keep:
        _keep(move)
    return 0 if move.clean else 1


def _keep(move: Move) -> None:
    """Tell where everything is, and wait for Ctrl-C."""
    stage, story = move.stage, move.story
    env = " \\\n  ".join(
        f"{name}='{value}'" for name, value in stage.env(primary="postgres").items() if "DATABASE" in name
    )
    story.plain(f"\nbackend      {move.backend_url}/health/ready  /metrics  /docs")
    story.plain(f"psql         psql '{stage.postgres.dsn(DATABASE)}'")
    story.plain(f"sqlite       sqlite3 'file:{stage.sqlite_path}?mode=ro'")
    story.plain(f"st-migrate   {env} \\\n  st-migrate status")
    story.plain(f"logs         {stage.base}\n\nCtrl-C ends everything.")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    sys.exit(main())
