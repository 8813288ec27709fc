"""Bursts that look for the limit: all alerts of a closing bar within one second, in every mode.

    python -m loadtests.burst [--quick] [--profile NAME] [--mode MODE] [--count N] [--during SITUATION] [--before PATH]

Each mode gets databases, a backend and a fake broker of its own. With --before, the backend of another checkout is
hit by the same bursts in the same run, in turns, so that what is told is a ratio. Exit code 0: every delivery was
answered in time, and nothing was lost, doubled, altered or stored after a refusal; --before judges this checkout only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.burst.draw import drawings, page, picture
from loadtests.burst.run import Outcome, play
from loadtests.burst.send.plan import (
    COMMANDS,
    DISPATCHES,
    INLINE,
    MODES,
    MOST,
    PROFILES,
    SITUATIONS,
    Burst,
    Case,
    cases,
)
from loadtests.burst.tables import BEFORE, NOW, as_table, ratios, told
from loadtests.burst.verdict import checks
from loadtests.burst.world import World
from loadtests.show import published
from loadtests.show.lines import Lines
from loadtests.stage.embedded import EmbeddedPostgres
from loadtests.stage.machine import machine
from loadtests.stage.processes import REPO, Broken

OUT = REPO / ".load"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make burst", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--profile", choices=list(PROFILES), default="bar_close")
    parser.add_argument("--quick", action="store_true", help="two modes and two sizes")
    parser.add_argument("--mode", choices=MODES, action="append", default=[], help="this one; may repeat")
    parser.add_argument("--count", type=_count, action="append", default=[], help="this size; may repeat")
    parser.add_argument("--during", choices=SITUATIONS, action="append", default=[], help="only meanwhile")
    parser.add_argument(
        "--dispatch", choices=DISPATCHES, action="append", default=[], help="of AUTO orders; may repeat"
    )
    parser.add_argument("--repeats", type=int, choices=range(1, 10), default=1, metavar="1..9")
    parser.add_argument(
        "--before", type=Path, metavar="PATH", help="a checkout to compare with, in the same run"
    )
    parser.add_argument("--workers", type=int, choices=range(1, 9), default=2, help="of a backend")
    parser.add_argument("--auto", type=float, default=0.05, help="share of AUTO orders (0.05)")
    parser.add_argument(
        "--broker-delay-ms", type=float, default=20.0, help="of a call; one in 50 takes ten times it"
    )
    parser.add_argument("--broker-refuses", type=int, default=50, metavar="N", help="of a thousand calls")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="for the backend")
    parser.add_argument(
        "--patient", action="store_true", help="wait minutes for AUTO orders that a fault has left behind"
    )
    parser.add_argument("--seed", type=int, default=201)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every figure there, and a picture beside it"
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="where the report goes")
    options = parser.parse_args(argv)
    if options.before and not (options.before / "backend").is_dir():
        parser.error(f"--before: {options.before} is no checkout: it has no folder backend")
    if options.json and not options.json.parent.is_dir():  # known now, and not after minutes
        parser.error(f"--json: there is no folder {options.json.parent}")
    return options


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"from 1 to {MOST:,}")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Play the bursts asked for; returns the exit code."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = Lines()
    lines.title(f"{PROFILES[options.profile].name}: {PROFILES[options.profile].why}")
    base = Path(tempfile.mkdtemp(prefix="st-burst-"))
    played = Played()
    try:
        with EmbeddedPostgres() as server:
            played.machine = machine(server)
            _play_all(options, Worlds(base, server, options), played, lines)
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(base, ignore_errors=True)
    _report(options, played, command(argv), lines)
    return 0 if all(row["held"] for row in played.rows if row["code"] == NOW) else 1


@dataclass
class Played:
    """What the bursts of a run have shown.

    `drawn`: a drawing of each. `shown`: the largest case's first repeat, by the name in the picture.
    """

    machine: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    shown: dict[str, Outcome] = field(default_factory=dict)


def _play_all(options: argparse.Namespace, worlds: Worlds, played: Played, lines: Lines) -> None:
    profile = PROFILES[options.profile]
    chosen = cases(
        profile,
        quick=options.quick,
        modes=options.mode,
        counts=options.count,
        situations=options.during,
        dispatches=options.dispatch,
    )
    largest = max(chosen, key=lambda case: case.count, default=None)
    for case in chosen:
        compared = options.before is not None and case.dispatch == INLINE
        for repeat in range(options.repeats):
            for code in turns(repeat, with_before=compared):
                row, outcome = _one(worlds, case, code, repeat, options, answered=profile.answered)
                played.rows.append(row)
                if outcome is not None:
                    played.drawn.append(drawings(f"{row['name']} ({code})", outcome))
                    if case is largest and not repeat:
                        played.shown[f"{row['name']} deliveries, {code}"] = outcome
                tell = lines.good if row["held"] or code == BEFORE else lines.bad
                tell(told(row))
                for problem in row["problems"]:
                    lines.bad(problem)


def _report(options: argparse.Namespace, played: Played, same_again: str, lines: Lines) -> None:
    """Print the table; write the figures, the picture and the page, and renew the documents that show them."""
    profile = PROFILES[options.profile]
    table = as_table(played.rows)
    print(table)
    for line in ratios(played.rows):
        lines.plain(line)
    result = {
        "name": "burst", "title": profile.why, "profile": profile.name, "machine": played.machine,
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "command": same_again, "bursts": played.rows,
    }  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    for path in (options.out / f"{profile.name}.json", *([options.json] if options.json else [])):
        path.write_text(text, encoding="utf-8")
    if options.json and played.shown:
        drawing = picture(sorted(played.shown.items()))
        options.json.with_suffix(".svg").write_text(drawing, encoding="utf-8")
    if options.json and options.json.resolve().parent == published.FIGURES:
        published.main()  # README and docs/load.md show these figures
    (options.out / f"{profile.name}.html").write_text(
        page(played.rows, table, played.drawn), encoding="utf-8"
    )
    lines.step(f"report: {options.out / profile.name}.html")


def turns(repeat: int, *, with_before: bool) -> tuple[str, ...]:
    """Which code is hit in a repeat, in order: in turns, so that no code always has the warmer machine."""
    if not with_before:
        return (NOW,)
    return (BEFORE, NOW) if repeat % 2 == 0 else (NOW, BEFORE)


class Worlds:
    """The worlds of a run: one for each code and mode, and a fresh one for each burst during a command."""

    def __init__(self, base: Path, server: EmbeddedPostgres, options: argparse.Namespace) -> None:
        self._base = base
        self._server = server
        self._options = options
        self._calm: dict[tuple[str, str, str], World] = {}
        self._made = 0

    def get(self, case: Case, code: str) -> World:
        """A world that is made."""
        known = self._calm.get((code, case.mode, case.dispatch))
        if known is not None and case.situation not in COMMANDS:
            return known
        self._made += 1
        name = f"burst_{self._made}"
        world = World(
            self._base / name,
            self._server,
            case.mode,
            checkout=self._options.before.resolve() if code == BEFORE else REPO,
            name=name,
            settings={"ST_WEBHOOK_DISPATCH": case.dispatch} | self._settings(),
            workers=self._options.workers,
        )
        world.make(case.situation)
        if case.situation not in COMMANDS:
            self._calm[code, case.mode, case.dispatch] = world
        return world

    def _settings(self) -> dict[str, str]:
        given = dict(word.split("=", 1) for word in self._options.set)
        broker = {
            "BURST_BROKER_DELAY_MS": str(self._options.broker_delay_ms),
            "BURST_BROKER_REFUSED_PER_THOUSAND": str(self._options.broker_refuses),
        }
        return broker | given


def _one(
    worlds: Worlds,
    case: Case,
    code: str,
    repeat: int,
    options: argparse.Namespace,
    *,
    answered: bool,
) -> tuple[dict[str, Any], Outcome | None]:
    load, started = os.getloadavg()[0], time.time()
    row: dict[str, Any] = {
        "name": case.name, "dispatch": case.dispatch, "mode": case.mode, "situation": case.situation, "count": case.count, "code": code,
        "repeat": repeat, "held": False, "checks": [], "problems": [],
    }  # fmt: skip
    burst = Burst(case.count, auto=options.auto, seed=options.seed + repeat)
    try:
        world = worlds.get(case, code)
        outcome = play(world, burst, situation=case.situation, patient=options.patient)
    except Broken as broken:
        return row | {"problems": [str(broken)]}, None
    held_to = list(
        checks(outcome.tally, outcome.verdict, outcome.broker, outcome.failed_writers, answered=answered)
    )
    broke = [str(check) for check in held_to if not check.held]
    found = outcome.as_json()
    found["problems"] = broke + found["problems"]
    found |= {
        "checks": [check.as_json() for check in held_to],
        "held": not found["problems"],
        "load_average": round(load, 2),
        "seconds": round(time.time() - started, 1),
    }
    return row | found, outcome


def command(argv: Sequence[str] | None) -> str:
    """How to get the same again; where the other checkout lies is left open."""
    given = list(sys.argv[1:] if argv is None else argv)
    if "--before" in given[:-1]:
        given[given.index("--before") + 1] = "PATH"
    words = " ".join(given)
    return f'make burst ARGS="{words}"' if words else "make burst"


if __name__ == "__main__":
    sys.exit(main())
