"""Move the same files with this tool and with pgloader, and compare what an application finds afterwards.

    python -m loadtests.bench.against [--quick] [--out DIR]

A full run writes docs/figures/against.json and renews the tables of README and docs/comparison.md; a quick one writes to .bench.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from app.db.base import Base
from app.db.common.settings import ShimSettings
from app.db.common.urls import parse_url
from app.db.revisions.chain import upgrade_head
from app.db.session.engines import make_engine
from loadtests.bench.against import movers, reading, shop
from loadtests.bench.lab.lab import QUICK, Lab, remove, rotated
from loadtests.show import published
from loadtests.stage import sample
from loadtests.stage.machine import machine
from loadtests.stage.processes import REPO


@dataclass(frozen=True)
class File:
    """A file to move, with how its application makes its tables and opens a database."""

    name: str
    make: Callable[[Path], None]
    install: Callable[[str], None]
    engine: Callable[[str], sa.Engine]
    tables: Sequence[sa.Table]
    schema: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.against")
    parser.add_argument("--quick", action="store_true", help="one small file, once")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where against.json goes")
    options = parser.parse_args(arguments)
    if shutil.which("pgloader") is None:
        print("pgloader is not installed: apt-get install pgloader", file=sys.stderr)
        return 2
    out = options.out or (REPO / ".bench" if options.quick else published.FIGURES)
    out.mkdir(parents=True, exist_ok=True)
    result = compared(quick=options.quick)
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (out / "against.json").write_text(text, encoding="utf-8")
    if out == published.FIGURES:
        published.main()
    return 0


def compared(*, quick: bool) -> dict[str, Any]:
    """All figures of one run."""
    started, before = time.time(), os.getloadavg()
    with Lab(QUICK, say=lambda line: print(line, file=sys.stderr, flush=True)) as lab:
        files = [_shop(300)] if quick else [_shop(50_000), _sample()]
        return {
            "files": [_file(lab, file, repeats=1 if quick else 3) for file in files],
            "machine": machine(lab.server),
            "load_average": [round(before[0], 2), round(os.getloadavg()[0], 2)],
            "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
            "command": f"python -m loadtests.bench.against{' --quick' if quick else ''}",
        }


def _shop(rows: int) -> File:
    def engine(url: str) -> sa.Engine:
        return sa.create_engine(parse_url(url, name="url"))

    def install(url: str) -> None:
        made = engine(url)
        shop.metadata.create_all(made)
        made.dispose()

    tables = shop.metadata.sorted_tables
    return File("one of each kind", lambda path: shop.fill(path, rows), install, engine, tables, "existing")


def _sample() -> File:
    def engine(url: str) -> sa.Engine:
        return make_engine(parse_url(url, name="url"), ShimSettings())

    return File("sample database", sample.make, upgrade_head, engine, Base.metadata.sorted_tables, "alembic")


def _file(lab: Lab, file: File, *, repeats: int) -> dict[str, Any]:
    path = lab.file("original")
    file.make(path)
    times: dict[str, list[float]] = {name: [] for name in movers.MOVERS}
    found: dict[str, dict[str, Any]] = {}
    truth = _acts(file, f"sqlite:///{path}")
    for repeat in range(repeats):
        for name in rotated(list(movers.MOVERS), repeat):
            lab.say(f"{file.name}: {name}, {repeat + 1} of {repeats}")
            lab.settle()
            copy, url = lab.copy_of(path), lab.database()
            if name != movers.ALONE and not (name == movers.OURS and file.schema == "alembic"):
                file.install(url)
            moved = movers.MOVERS[name](lab, copy, url, file.schema)
            times[name].append(moved.seconds)
            if name not in found:
                found[name] = _found(file, path, url, moved, truth)
            remove(copy)
            lab.drop(url)
    size = path.stat().st_size
    remove(path)
    return {
        "name": file.name,
        "megabytes": round(size / 1e6, 1),
        "truth": truth,
        "movers": {
            name: result
            | {
                "seconds": [round(t, 2) for t in times[name]],
                "median": round(statistics.median(times[name]), 2),
            }
            for name, result in found.items()
        },
    }


def _found(file: File, path: Path, url: str, moved: movers.Moved, truth: dict[str, str]) -> dict[str, Any]:
    before, after = file.engine(f"sqlite:///{path}"), file.engine(url)
    read = reading.compare(file.tables, before, after)
    before.dispose()
    after.dispose()
    acts = _acts(file, url)
    return {
        "exit_code": moved.exit_code,
        "said": moved.said,
        "read": read.as_json(),
        "objects": _objects(file.tables, url, file.engine),
        "acts": {name: answer for name, answer in acts.items() if answer != truth[name]},
    }


def _acts(file: File, url: str) -> dict[str, str]:
    if file.tables != shop.metadata.sorted_tables:
        return {}
    engine = file.engine(url)
    answers = {name: shop.acted(engine, act) for name, act in shop.ACTS.items()}
    engine.dispose()
    return answers


def _objects(
    tables: Sequence[sa.Table], url: str, engine: Callable[[str], sa.Engine]
) -> dict[str, list[int]]:
    """Of what the models declare: how much there is on PostgreSQL, and how much there should be."""
    there = engine(url)
    look = sa.inspect(there)
    names = [table.name for table in tables if look.has_table(table.name)]
    unique = [
        (set(u.columns.keys())) for t in tables for u in t.constraints if isinstance(u, sa.UniqueConstraint)
    ]
    declared = {
        "tables": len(tables),
        "columns": sum(len(table.columns) for table in tables),
        "foreign keys": sum(len(table.foreign_key_constraints) for table in tables),
        "unique keys and indexes": len(unique) + sum(len(table.indexes) for table in tables),
        "checks": sum(isinstance(c, sa.CheckConstraint) for t in tables for c in t.constraints),
        "defaults": sum(
            c.server_default is not None and c.computed is None for t in tables for c in t.columns
        ),
    }
    present = {
        "tables": len(names),
        "columns": sum(
            len({c["name"] for c in look.get_columns(t.name)} & set(t.columns.keys()))
            for t in tables if t.name in names
        ),
        "foreign keys": sum(len(look.get_foreign_keys(name)) for name in names),
        "unique keys and indexes": sum(len(look.get_indexes(name)) for name in names),
        "checks": sum(len(look.get_check_constraints(name)) for name in names),
        "defaults": sum(
            c.get("default") is not None and not str(c["default"]).startswith("nextval(") and not c.get("computed")
            for name in names for c in look.get_columns(name)
        ),
    }  # fmt: skip
    there.dispose()
    return {what: [present[what], count] for what, count in declared.items()}


if __name__ == "__main__":
    sys.exit(main())
