"""The demo: a live database moves from SQLite to PostgreSQL, back, and there again, under webhook traffic.

A backend with two workers serves on SQLite; a sender that behaves like TradingView keeps delivering. The
operator's own commands move the primary; see `loadtests.run.story` for the steps. Then the oracle compares
every answer the sender was given with both databases. Exit code 1 if anything was lost, doubled, altered,
failed or different.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from loadtests.run.chaos import Chaos
from loadtests.run.one_sender import OneSender
from loadtests.run.story import COPIED, TURNED_URL, Story
from loadtests.show.lines import Lines
from loadtests.show.summary import figures, table_rows
from loadtests.stage.processes import Broken
from loadtests.stage.stage import Stage

TARGET_RATE = 60.0
STEPS = (*COPIED, "cutover", "verify", "rollback", TURNED_URL, "verify")
SWITCHES = 3


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rate", type=float, default=TARGET_RATE, help="webhooks per second to aim at")
    parser.add_argument("--quick", action="store_true", help="watch less between the steps")
    parser.add_argument("--keep", action="store_true", help="leave the servers up until Ctrl-C")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--seed", type=int, default=1, help="seed of the database and the payloads")
    parser.add_argument("--chaos", action="store_true", help="kill -9 at random moments, and repeat commands")
    options = parser.parse_args(argv)
    if options.rate <= 0:
        parser.error("--rate is a number above 0")
    if options.json and not options.json.parent.is_dir():  # known now, and not after minutes
        parser.error(f"--json: there is no folder {options.json.parent}")
    return options


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lines = Lines()
    lines.title("A live SigmaTrader moves from SQLite to PostgreSQL, back, and there again")
    with Stage(seed=options.seed) as stage:
        observe_s = 1.0 if options.quick else 4.0
        sender = OneSender(stage, lines, rate=options.rate, observe_s=observe_s, seed=options.seed)
        chaos = Chaos(stage, lines, options.seed) if options.chaos else None
        story = Story(stage, lines, sender, steps=STEPS, chaos=chaos)
        try:
            return _play(story, stage, lines, chaos, options)
        except KeyboardInterrupt:
            lines.bad("interrupted: everything that was started is being ended")
            return 130
        finally:
            story.stop()


def _play(story: Story, stage: Stage, lines: Lines, chaos: Chaos | None, options: argparse.Namespace) -> int:
    outcome = story.outcome
    try:
        story.play()
    except Broken as broken:
        lines.bad(str(broken))
        outcome.problems.append(str(broken))
    clean = _clean(story, chaos)
    found = {"clean": clean, "problems": outcome.problems}
    if story.watch:
        kills = chaos.kills if chaos else 0
        found = (
            figures(outcome, story.watch, database=stage.origin, kills=kills, seconds=lines.elapsed) | found
        )
        lines.table(table_rows(found))
    for finding in outcome.verdict.findings[:10]:
        lines.bad(f"{finding.kind} on {finding.side}: {finding.what}: {finding.detail}")
    for problem in outcome.problems:
        lines.bad(problem)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if clean:
        killed = f", in spite of {chaos.kills} kills" if chaos else ", and none failed"
        lines.good(f"no webhook was lost, doubled or altered{killed}; both databases are equal")
    else:
        lines.bad("NOT clean; what the backend wrote last, requests left out:")
        log = stage.backend_log.read_text(encoding="utf-8", errors="replace") if story.backend else ""
        told = [line for line in log.splitlines() if '"sigma.request"' not in line]
        lines.plain("\n".join(told[-15:]))
    if options.keep:
        _keep(story, stage, lines)
    return 0 if clean else 1


def _clean(story: Story, chaos: Chaos | None) -> bool:
    """Whether everything held; with chaos a delivery may end without an answer, but never wrongly."""
    outcome, verdict = story.outcome, story.outcome.verdict
    unanswered = 0 if chaos else verdict.failed + verdict.unknown
    complete = len(outcome.switches) == SWITCHES and verdict.acknowledged > 0
    wrong = unanswered or outcome.mismatches or outcome.problems or verdict.findings
    return complete and not wrong


def _keep(story: Story, stage: Stage, lines: Lines) -> None:
    """Tell where everything is, and wait for Ctrl-C."""
    env = " \\\n  ".join(
        f"{name}='{value}'" for name, value in stage.env(primary="postgres").items() if "DATABASE" in name
    )
    url = story.backend.url if story.backend else ""
    lines.plain(f"\nbackend      {url}/health/ready  /metrics  /docs")
    lines.plain(f"psql         psql '{stage.postgres_dsn}'")
    lines.plain(f"sqlite       sqlite3 'file:{stage.sqlite_path}?mode=ro'")
    lines.plain(f"st-migrate   {env} \\\n  st-migrate status")
    lines.plain(f"logs         {stage.base}\n\nCtrl-C ends everything.")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    sys.exit(main())
