"""`make drill`: backups under webhooks, a lost table, and the moment before it restored into a fresh server.

A backend on Debian's PostgreSQL takes webhooks while pgBackRest makes a full and an incremental backup, with the
files of `deploy`. Then the senders rest, every row is noted with the time, the senders go on, and a table is dropped. The
server of that moment is restored beside it; a dump of it goes into a database of its own. Exit code 1 if a row
differs, an acknowledged delivery is lost, doubled or altered, or the backend does not work on what was restored.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from loadtests.run.drill.debian import missing
from loadtests.run.drill.play import Drill
from loadtests.show.lines import Lines
from loadtests.stage.processes import Broken


def main(argv: list[str] | None = None) -> int:
    """Run the drill; returns the exit code: 0 all came back, 1 it did not, 2 a program is missing."""
    parser = argparse.ArgumentParser(prog="make drill", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rate", type=float, default=40.0, help="webhooks per second")
    parser.add_argument("--seed", type=int, default=1, help="seed of the database and the payloads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--optional", action="store_true", help="exit with 0 where a program is missing")
    options = parser.parse_args(argv)
    if options.json and not options.json.parent.is_dir():  # known now, and not after minutes
        parser.error(f"--json: there is no folder {options.json.parent}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if package := missing():
        print(
            f"the drill is left out: {package} is not installed: apt-get install {package}", file=sys.stderr
        )
        return 0 if options.optional else 2
    lines = Lines()
    lines.title("A PostgreSQL is backed up under webhooks, loses a table, and comes back as it was before")
    with Drill(lines, rate=options.rate, seed=options.seed) as drill:
        began = time.monotonic()
        try:
            drill.play()
        except Broken as broken:
            drill.problems.append(str(broken))
        drill.figures["seconds in all"] = round(time.monotonic() - began, 1)
        lines.table(drill.figures.items())
        for problem in drill.problems:
            lines.bad(problem)
        if not drill.problems:
            lines.good(
                "every row and every acknowledged webhook of that moment is back, and the backend works on it"
            )
        if options.json:
            found = {"figures": drill.figures, "problems": drill.problems}
            options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return 1 if drill.problems else 0


if __name__ == "__main__":
    sys.exit(main())
