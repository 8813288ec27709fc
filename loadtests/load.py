"""Play load profiles through whole moves, one after the other, and give one verdict.

    python -m loadtests.load [--quick] [--profile NAME] [--dual-write async]

Each profile gets databases, a backend and senders of its own: preflight, prepare, backfill, verify; then
cutover, rollback and cutover again, each at a peak of the load. Without arguments all profiles that are
marked for CI are played, and their figures and tables go into docs. Exit code 0: every bound of every
profile held and nothing was lost, doubled or altered. Bursts (`bar_close`) are played after the others, by
`loadtests.burst`, which has a table and a report of its own.
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

from app.db.common.settings import DualWrite, ShimSettings
from loadtests.burst import __main__ as burst
from loadtests.burst.send.plan import PROFILES as BURSTS
from loadtests.judge.bounds import Check, checks
from loadtests.judge.measured import figures, measure
from loadtests.run.by_locust import ByLocust
from loadtests.run.story import COPIED, Story
from loadtests.show import published
from loadtests.show.lines import Lines
from loadtests.show.report import report
from loadtests.show.tables import committed
from loadtests.stage.machine import machine
from loadtests.stage.processes import REPO, Broken
from loadtests.stage.stage import Stage
from loadtests.traffic.profiles import PROFILES, Profile

OUT = REPO / ".load"
STEPS = (*COPIED, "cutover", "rollback", "cutover", "verify")
DUAL_WRITE = str(ShimSettings.model_fields["dual_write"].default)
MODES = (DualWrite.ASYNC.value, DualWrite.SYNC.value)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make load", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--profile", choices=[*PROFILES, *BURSTS], action="append", help="this one only; may repeat"
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
        return [PROFILES[name] for name in options.profile if name in PROFILES]
    return [profile for profile in PROFILES.values() if (profile.quick if options.quick else profile.ci)]


def chosen_bursts(options: argparse.Namespace) -> list[list[str]]:
    """The command line of `loadtests.burst` for each burst profile to play."""
    names = options.profile or [
        profile.name for profile in BURSTS.values() if (profile.quick if options.quick else profile.ci)
    ]
    common = ["--out", str(options.out), *(["--quick"] if options.quick else [])]
    return [["--profile", name, *common] for name in names if name in BURSTS]


def main(argv: list[str] | None = None) -> int:
    """Play the profiles asked for; returns the exit code."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = Lines()
    entries: list[dict[str, Any]] = []
    try:
        for profile in chosen(options):
            lines.title(profile.name)
            entries.append(play(profile, options, lines))
    except KeyboardInterrupt:
        return 130
    code = _summed_up(entries, options, lines) if entries else 0
    for words in chosen_bursts(options):
        code = burst.main(words) or code
    return code


def _summed_up(entries: list[dict[str, Any]], options: argparse.Namespace, lines: Lines) -> int:
    result = summary(entries)
    (options.out / "load.json").write_text(as_text(result), encoding="utf-8")
    full = options.scale is None and not (options.profile or options.quick)
    if options.publish or full:
        publish(result, options.dual_write)
    return _verdict(entries, options, lines)


def play(profile: Profile, options: argparse.Namespace, lines: Lines) -> dict[str, Any]:
    """One profile on a stage of its own: its figures, with its report written."""
    started, load_before = time.time(), os.getloadavg()[0]
    env = {"ST_DUAL_WRITE": options.dual_write}
    with Stage() as stage:
        locust = ByLocust(
            stage, lines, profile, env=env, max_seconds=options.max_seconds, scale=options.scale
        )
        story = Story(stage, lines, locust, steps=STEPS, env=env)
        try:
            story.play()
        except Broken as broken:
            story.outcome.problems.append(str(broken))
        finally:
            story.stop()
        found, held_to = judged(story, locust, options.dual_write)
        problems = story.outcome.problems
        entry = found | {
            "checks": [check.as_json() for check in held_to],
            "problems": problems,
            "held": bool(held_to) and not problems and all(check.held for check in held_to),
            "machine": machine(stage.postgres),
            "load_average": [round(load_before, 2), round(os.getloadavg()[0], 2)],
            "seconds": round(time.time() - started, 1),
            "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
            "command": command(options),
        }
        if not entry["held"]:
            for log in (stage.backend_log, stage.migrate_log):
                if log.exists():
                    shutil.copy(log, options.out / f"{profile.name}.{log.name}")
    path = options.out / f"{profile.name}.html"
    samples = story.watch.samples if story.watch else []
    text = report(locust.profile, story.outcome, held_to, found, entry, samples, locust.began)
    path.write_text(text, encoding="utf-8")
    lines.step(f"{'held' if entry['held'] else 'DID NOT HOLD'}; report: {path}")
    return entry


def judged(story: Story, locust: ByLocust, dual_write: str) -> tuple[dict[str, Any], list[Check]]:
    """The figures and checks of a run, no checks if it did not come to its end; adds to its problems."""
    outcome, profile = story.outcome, locust.profile
    outcome.problems += outcome.repeated
    if not outcome.judged or story.watch is None:
        return {"profile": profile.name}, []
    counts = locust.counts()
    findings = outcome.verdict.findings
    outcome.problems += [f"{f.kind} on {f.side}: {f.what}: {f.detail}" for f in findings[:20]]
    outcome.problems += counts["errors"][:10]
    if outcome.verdict.acknowledged == 0:
        outcome.problems.append("nothing was acknowledged")
    measured = measure(outcome, story.watch, locust.began, counts["failed"])
    found = figures(
        measured, outcome, story.watch, locust.began, profile,
        scale=locust.scale, dual_write=dual_write, requests=counts["requests"],
    )  # fmt: skip
    return found, list(checks(profile.bounds, measured))


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
    name = published.NAMES[mode]
    merged = published.merged(committed(published.FIGURES, name), result)
    (published.FIGURES / f"{name}.json").write_text(as_text(merged), encoding="utf-8")
    published.main()


def as_text(value: dict[str, Any]) -> str:
    """JSON as it is committed: figures with six significant digits."""
    rounded = json.loads(json.dumps(value), parse_float=lambda text: float(f"{float(text):.6g}"))
    return json.dumps(rounded, indent=1, ensure_ascii=False) + "\n"


def _verdict(entries: list[dict[str, Any]], options: argparse.Namespace, lines: Lines) -> int:
    lines.table([(entry["profile"], _told(entry)) for entry in entries])
    for entry in entries:
        for check in entry["checks"]:
            if not check["held"]:
                told = f"{check['measured']:,.0f} {check['unit']}, at most {check['bound']:g}"
                lines.bad(f"{entry['profile']}: {check['what']}: {told}")
        for problem in entry["problems"]:
            lines.bad(f"{entry['profile']}: {problem}")
    held = all(entry["held"] for entry in entries)
    if held:
        lines.good(f"every bound of {len(entries)} profiles held; nothing was lost, doubled or altered")
    lines.step(f"figures: {options.out / 'load.json'}")
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
