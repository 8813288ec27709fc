"""Play load profiles through whole moves, one after the other, and give one verdict.

    python -m loadtests.load [--quick] [--profile NAME] [--dual-write async]

Each profile gets databases, a backend and senders of its own: preflight, prepare, backfill, verify; then
cutover, rollback and cutover again, each at a peak of the load. Without arguments all profiles that are
marked for CI are played, and their figures and tables go into docs. Exit code 0: every bound of every
profile held and nothing was lost, doubled or altered.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from app.db.settings import DualWrite
from loadtests.bench.lab.lab import machine
from loadtests.run.under_load import DUAL_WRITE, UnderLoad
from loadtests.show import published
from loadtests.show.lines import Story
from loadtests.show.report import charts, close_ups, flat, page
from loadtests.stage.processes import REPO, Broken
from loadtests.stage.stage import Stage
from loadtests.traffic.profiles import PROFILES, Profile

OUT = REPO / ".load"
MODES = (DualWrite.ASYNC.value, DualWrite.SYNC.value)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make load", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--profile", choices=list(PROFILES), action="append", help="this one only; may repeat"
    )
    parser.add_argument("--quick", action="store_true", help="the profiles for when there is little time")
    parser.add_argument("--dual-write", choices=MODES, default=DUAL_WRITE, help="mode of the backend")
    parser.add_argument("--scale", type=float, help="so many times the users (default: what is carried)")
    parser.add_argument("--max-seconds", type=float, default=240.0, help="of load for each profile")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="where reports and JSON go")
    parser.add_argument("--publish", action="store_true", help="renew the figures and tables in docs as well")
    return parser.parse_args(argv)


def chosen(options: argparse.Namespace) -> list[Profile]:
    """The profiles to play, in the order of their definition."""
    if options.profile:
        return [PROFILES[name] for name in options.profile]
    return [profile for profile in PROFILES.values() if (profile.quick if options.quick else profile.ci)]


def main(argv: list[str] | None = None) -> int:
    """Play the profiles asked for; returns the exit code."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options.out.mkdir(parents=True, exist_ok=True)
    story = Story()
    entries: list[dict[str, Any]] = []
    try:
        for profile in chosen(options):
            story.title(profile.name)
            entries.append(play(profile, options, story))
    except KeyboardInterrupt:
        return 130
    result = summary(entries)
    (options.out / "load.json").write_text(as_text(result), encoding="utf-8")
    full = options.scale is None and not (options.profile or options.quick)
    if options.publish or full:
        publish(result, options.dual_write)
    return _verdict(entries, options, story)


def play(profile: Profile, options: argparse.Namespace, story: Story) -> dict[str, Any]:
    """One profile on a stage of its own: its figures, with its report written."""
    started, load_before = time.time(), os.getloadavg()[0]
    with Stage() as stage:
        run = UnderLoad(
            stage, profile, story, options.max_seconds, scale=options.scale, dual_write=options.dual_write
        )
        try:
            run.play()
        except Broken as broken:
            run.outcome.problems.append(str(broken))
        finally:
            run.stop()
        found = run.outcome.figures or {"profile": profile.name}
        entry = found | {
            "checks": [check.as_json() for check in run.outcome.checks],
            "problems": run.outcome.problems,
            "held": run.outcome.held,
            "machine": machine(stage.postgres),
            "load_average": [round(load_before, 2), round(os.getloadavg()[0], 2)],
            "seconds": round(time.time() - started, 1),
            "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
            "command": command(options),
        }
        if not run.outcome.held:
            for log in (stage.backend_log, stage.migrate_log):
                if log.exists():
                    shutil.copy(log, options.out / f"{profile.name}.{log.name}")
    path = options.out / f"{profile.name}.html"
    path.write_text(report(run, entry), encoding="utf-8")
    story.step(f"{'held' if entry['held'] else 'DID NOT HOLD'}; report: {path}")
    return entry


def report(run: UnderLoad, entry: dict[str, Any]) -> str:
    """A run as one HTML file."""
    outcome, profile, samples = run.outcome, run.profile, run.watch.samples if run.watch else []
    facts = entry["machine"]
    drawings: dict[str, list[str]] = {}
    if outcome.deliveries:
        drawings = {
            "Over time": charts(outcome.deliveries, samples, outcome.marks, run.began, profile.bounds),
            "The switches from near": close_ups(outcome.deliveries, samples, outcome.marks, run.began),
        }
    notes = (
        profile.why,
        f"{entry['date']}: ST_DUAL_WRITE={entry.get('dual_write')}, seed {profile.seed}, scale {entry.get('scale')} "
        f"({profile.peak} users at the peak); {facts['processors']} processors ({facts['processor']}), "
        f"{facts['memory_gb']} GB, load average before {entry['load_average'][0]}; Python {facts['python']}, "
        f"SQLite {facts['sqlite']}, PostgreSQL {facts['postgresql']}, SQLAlchemy {facts['sqlalchemy']}, "
        f"psycopg {facts['psycopg']}.",
        f"{entry['command']}",
    )
    return page(
        f"Cutover under load: {profile.name}", notes, outcome.problems, outcome.checks, flat(outcome.figures),
        drawings,
    )  # fmt: skip


def command(options: argparse.Namespace) -> str:
    """How to get the same again."""
    words = ["--quick"] if options.quick and not options.profile else []
    words += [f"--profile {name}" for name in options.profile or ()]
    words += [f"--dual-write {options.dual_write}"] if options.dual_write != DUAL_WRITE else []
    words += [f"--scale {options.scale:g}"] if options.scale is not None else []
    return " ".join(["make load", *([f'ARGS="{" ".join(words)}"'] if words else [])])


def summary(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """All profiles, with what they have in common once."""
    profiles = [{name: value for name, value in entry.items() if name != "machine"} for entry in entries]
    return {
        "name": "load",
        "title": published.TITLE,
        "machine": entries[-1]["machine"],
        "date": entries[-1]["date"],
        "profiles": profiles,
    }


def publish(result: dict[str, Any], mode: str) -> None:
    """Put the figures among the committed ones, and renew the documents."""
    path = published.FIGURES / f"{published.NAMES[mode]}.json"
    path.write_text(as_text(published.merged(published.load(path), result)), encoding="utf-8")
    published.main()


def as_text(value: dict[str, Any]) -> str:
    """JSON as it is committed: figures with six significant digits."""
    rounded = json.loads(json.dumps(value), parse_float=lambda text: float(f"{float(text):.6g}"))
    return json.dumps(rounded, indent=1, ensure_ascii=False) + "\n"


def _verdict(entries: list[dict[str, Any]], options: argparse.Namespace, story: Story) -> int:
    story.table([(entry["profile"], _told(entry)) for entry in entries])
    for entry in entries:
        for check in entry["checks"]:
            if not check["held"]:
                told = f"{check['measured']:,.0f} {check['unit']}, at most {check['bound']:g}"
                story.bad(f"{entry['profile']}: {check['what']}: {told}")
        for problem in entry["problems"]:
            story.bad(f"{entry['profile']}: {problem}")
    held = all(entry["held"] for entry in entries)
    if held:
        story.good(f"every bound of {len(entries)} profiles held; nothing was lost, doubled or altered")
    story.step(f"figures: {options.out / 'load.json'}")
    return 0 if held else 1


def _told(entry: dict[str, Any]) -> str:
    if not entry["checks"]:
        return "not played to its end"
    pauses = " / ".join(f"{switch['reported_ms']:.0f}" for switch in entry["switch"].values())
    return (
        f"{'held' if entry['held'] else 'BROKEN'}; {entry['deliveries']['deliveries']:,} deliveries, pauses {pauses} ms, "
        f"p99 {entry['answer_ms']['p99']:.0f} ms, lag p99 {entry['lag_ms']['p99']:.0f} ms, {entry['seconds']:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
