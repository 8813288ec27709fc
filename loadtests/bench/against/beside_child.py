"""One turn of a checkout's own benchmark: runs inside of that checkout and prints its figures as JSON.

The modules come from PYTHONPATH, so this file knows both places that the lab has had.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict, replace

PARTS = ("copy", "verify", "sessions", "changes")


def main(sizes: str, seed: str) -> None:
    """Run the parts with the sizes given as JSON."""
    try:
        lab = importlib.import_module("loadtests.bench.lab.lab")
    except ModuleNotFoundError:
        lab = importlib.import_module("loadtests.bench.lab")
    parts = importlib.import_module("loadtests.bench.__main__").PARTS
    chosen = replace(lab.QUICK, **json.loads(sizes))
    with lab.Lab(chosen, seed=int(seed), say=lambda line: print(line, file=sys.stderr)) as place:
        os.environ["PATH"] = ""  # programs of others are not measured
        figures = [asdict(figure) for name in PARTS for figure in parts[name](place).figures]
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
