"""Run the benchmark.

    python -m loadtests.bench [--quick] [--only copy,verify,...] [--out DIR] [--before PATH]

Writes DIR/NAME.json and DIR/NAME.svg for each part. A full run writes to docs/figures and renews the
tables of the documents; a quick one writes to .bench and leaves the documents alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtests.bench.against import beside
from loadtests.bench.lab.lab import FULL, QUICK, TINY, Lab, Sizes
from loadtests.bench.lab.samples import Part
from loadtests.bench.parts import changes, copy, jobs, sessions, switching, verify, webhook, worth
from loadtests.show import published
from loadtests.show.plots import plot
from loadtests.show.tables import table
from loadtests.stage.machine import machine
from loadtests.stage.processes import REPO

PARTS: dict[str, Callable[[Lab], Part]] = {
    "copy": copy.run,
    "verify": verify.run,
    "sessions": sessions.run,
    "changes": changes.run,
    "webhook": webhook.run,
    "switch": switching.run,
    "worth": worth.run,
    "jobs": jobs.run,
    "beside": beside.run,
}
COMPARED = ("webhook", "beside")  # the parts in which the code of --before takes part
SIZES = {"full": FULL, "quick": QUICK, "tiny": TINY}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for; returns the exit code."""
    options = _parser().parse_args(arguments)
    names = options.only.split(",") if options.only else [*PARTS]
    if not options.only and options.before is None:
        names.remove("beside")
    if unknown := sorted(set(names) - set(PARTS)):
        print(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    size = "tiny" if options.tiny else "quick" if options.quick else "full"
    out = options.out or (published.FIGURES if size == "full" else REPO / ".bench")
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        result = measure(name, SIZES[size], options.seed, size, out, before=options.before)
        if out == published.FIGURES:
            published.main()
        print(f"\n{table(result)}", flush=True)
    return 0


def measure(
    name: str, sizes: Sizes, seed: int, size: str, out: Path, *, before: Path | None = None
) -> dict[str, Any]:
    """Run one part on a server of its own and write its files. `before`: another checkout to compare with."""
    started = time.time()
    load = os.getloadavg()
    compared = before.resolve() if before is not None and name in COMPARED else None
    with Lab(
        sizes, seed=seed, say=lambda line: print(line, file=sys.stderr, flush=True), before=compared
    ) as lab:
        part = PARTS[name](lab)
        result = part.as_json() | {
            "machine": machine(lab.server),
            "sizes": {"name": size, **asdict(sizes)},
            "seed": seed,
            "load_average": [round(value, 2) for value in (load[0], *os.getloadavg()[:1])],
            "seconds": round(time.time() - started, 1),
            "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
            "command": f"python -m loadtests.bench{'' if size == 'full' else f' --{size}'} --only {name}"
            + (" --before PATH" if compared else ""),
        }
    (out / f"{name}.json").write_text(
        json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (out / f"{name}.svg").write_text(plot(result), encoding="utf-8")
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, in minutes")
    parser.add_argument("--tiny", action="store_true", help="only to see that it runs")
    parser.add_argument("--only", metavar="NAME[,NAME]", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where JSON and plots go")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--before",
        type=Path,
        metavar="PATH",
        help=f"a checkout to compare with, in the same run ({', '.join(COMPARED)})",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
