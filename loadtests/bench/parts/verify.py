"""Verify: every row of both sides compared, against one bare scan of the SQLite side in Python.

The floor only reads, one side, and compares nothing.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from app.db.apply.round import Applier
from app.db.rows.catalog import Schema, quote
from loadtests.bench.lab import candles
from loadtests.bench.lab.lab import Lab, remove, timed
from loadtests.bench.lab.pairs import close_applier, make_applier, prepare_candles, prepare_sample
from loadtests.bench.lab.samples import Figure, Part, Samples
from loadtests.show.headline import SCAN, VERIFY
from loadtests.stage import sample
from migration.fill.backfill import Backfill
from migration.verify.run import Verify

FETCH = 2_000


def run(lab: Lab) -> Part:
    """Candles and the sample database."""
    part = Part("verify", "Every row compared on both sides")
    path = lab.file("candles")
    candles.make(path, lab.sizes.candles, seed=lab.seed)
    url = lab.database()
    prepare_candles(path, url)
    part.figures += _contest(lab, f"{lab.sizes.candles:,} candles", path, url)
    if not lab.sizes.sample:
        return part
    path = lab.file("sample")
    sample.make(path, seed=lab.seed)
    url = lab.database()
    prepare_sample(path, url)
    part.figures += _contest(lab, "sample database", path, url)
    return part


def _contest(lab: Lab, group: str, path: Path, url: str) -> list[Figure]:
    samples = Samples(group, SCAN)
    _, applier = make_applier(path, url)
    Backfill(applier).run()
    schema = applier.schema()
    for repeat in range(lab.sizes.repeats):
        lab.say(f"verify, {group}: repeat {repeat + 1}")
        lab.settle()
        samples.add(SCAN, "speed", "rows/s", _scan(path, schema))
        samples.add(VERIFY, "speed", "rows/s", _verify(applier))
    close_applier(applier)
    remove(path)
    lab.drop(url)
    return samples.figures()


def _scan(path: Path, schema: Schema) -> float:
    rows = 0
    with closing(sqlite3.connect(path)) as connection:
        # A bare scan decodes nothing.
        connection.text_factory = bytes

        def read() -> None:
            nonlocal rows
            for name in schema:
                cursor = connection.execute(f"SELECT * FROM {quote(name)}")
                while batch := cursor.fetchmany(FETCH):
                    rows += len(batch)

        seconds = timed(read)
        return rows / seconds


def _verify(applier: Applier) -> float:
    result = Verify(applier).run()
    if result.mismatches:
        raise RuntimeError(f"verify found {len(result.mismatches)} differences in the benchmark's own copy")
    return result.rows / result.seconds
