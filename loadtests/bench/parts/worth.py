"""Worth: what pieces bring that make the code longer, each measured with and without in the same run.

- small rounds (`app.db.apply.small`): commits in sync mode. Without them each round locks first;
- woven rows (`migration.fill.binary.rows`): the copy of one process. Without them each field is cut and joined.

"Without" is a change of the loaded code for as long as it is measured. The product has no setting for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from app.db.apply.round import Applier
from app.db.common.settings import DualWrite
from loadtests.bench.lab import candles
from loadtests.bench.lab.lab import Lab, remove, rotated, timed
from loadtests.bench.lab.modes import Mode, field_of
from loadtests.bench.lab.pairs import close_applier, make_applier, prepare_candles
from loadtests.bench.lab.samples import Figure, Part, Samples
from loadtests.bench.parts.sessions import WARM_UP, spend
from loadtests.judge.figures import percentile
from loadtests.show.headline import WITH, WITHOUT
from migration.fill.backfill import Backfill
from migration.fill.binary import rows as binary


def run(lab: Lab) -> Part:
    """Each piece after the other."""
    part = Part("worth", "What single pieces bring, each with and without in the same run")
    part.figures += _small_rounds(lab, part.notes) + _woven(lab)
    return part


@contextmanager
def _instead(owner: Any, **others: Any) -> Iterator[None]:
    """Something else in the place of what the code has there."""
    former = {name: getattr(owner, name) for name in others}
    for name, other in others.items():
        setattr(owner, name, other)
    try:
        yield
    finally:
        for name, value in former.items():
            setattr(owner, name, value)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _small_rounds(lab: Lab, notes: list[str]) -> list[Figure]:
    field = field_of(lab)
    mode = Mode("SQLite, sync", dual=DualWrite.SYNC)
    figures: list[Figure] = []
    for threads in lab.sizes.threads:
        samples = Samples(
            f"small rounds: commits in sync mode, {threads} thread{'s' * (threads > 1)}", WITHOUT
        )
        for repeat in range(lab.sizes.repeats):
            lab.say(f"worth, small rounds, {threads} threads: repeat {repeat + 1}")
            for name in rotated((WITH, WITHOUT), repeat):
                changed = (
                    _as_it_is() if name == WITH else _instead(Applier, _keep_resume_point=lambda *_: None)
                )
                with changed, field.open(mode) as (factory, _):
                    spend(factory, 1, WARM_UP)
                    seconds, times, errors = spend(factory, threads, lab.sizes.commits)
                samples.add(name, "commits", "1/s", len(times) / seconds)
                samples.add(name, "p50", "ms", percentile(times, 0.5))
                notes += [f"small rounds, {name}: a commit failed, {error}" for error in errors[:1]]
        figures += samples.figures()
    return figures


def _woven(lab: Lab) -> list[Figure]:
    rows = lab.sizes.candles
    samples = Samples(f"woven rows: copy of {rows:,} candles by one process", WITHOUT)
    original = lab.file("woven")
    candles.make(original, rows, seed=lab.seed)
    for repeat in range(lab.sizes.repeats):
        lab.say(f"worth, woven rows: repeat {repeat + 1}")
        for name in rotated((WITH, WITHOUT), repeat):
            path, url = lab.copy_of(original), lab.database()
            prepare_candles(path, url)
            _, applier = make_applier(path, url)
            lab.settle()
            changed = (
                _as_it_is()
                if name == WITH
                else _instead(binary, _weave=_joined, _texts_of_one_length=lambda _: None)
            )
            with changed:
                samples.add(name, "time", "s", timed(Backfill(applier).run))
            close_applier(applier)
            remove(path)
            lab.drop(url)
    remove(original)
    return samples.figures()


def _joined(fields: Sequence[Any], count: int) -> bytes:
    """Rows joined from single fields, whatever their width."""
    head = len(fields).to_bytes(2, "big")
    pieces = [
        binary._cut(binary._block([field], count, b""), count) if isinstance(field, binary._Fixed) else field
        for field in fields
    ]
    return b"".join(chain.from_iterable(zip([head] * count, *pieces, strict=True)))
