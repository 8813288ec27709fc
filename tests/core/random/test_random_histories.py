"""Random histories of writes, rounds, switches and crashes, against a model in memory (see `machine`).

ST_PROPERTY_EXAMPLES asks for more histories than the few that every run does; those are always the same ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from app.db.common.settings import DualWrite, ShimSettings
from app.db.session.runtime import Runtime, make_runtime
from tests.core.modes.chosen import ALL
from tests.core.random.machine import Histories
from tests.support.dying.zygote import Zygote
from tests.support.fixtures import Templates
from tests.support.pairs import TestPair

EXAMPLES = int(os.environ.get("ST_PROPERTY_EXAMPLES", "0"))


@pytest.fixture
def strict_sessions() -> Iterator[Callable[[TestPair], Runtime]]:
    """The runtime of a process in strict mode on a pair, in which nothing runs in the background."""
    made: dict[Path, Runtime] = {}

    def of(pair: TestPair) -> Runtime:
        if pair.path not in made:
            settings = ShimSettings(shadow_database_url=pair.url, dual_write=DualWrite.STRICT)
            made[pair.path] = make_runtime(f"sqlite:///{pair.path}", settings)
            made[pair.path].__dict__["replicator"] = SimpleNamespace(
                committed=lambda: None, stop=lambda: None, uses_sqlite=False
            )
        return made[pair.path]

    yield of
    for current in made.values():
        current.stop()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("writers", ["strangers", "strict sessions"])
def test_random_histories(
    templates: Templates,
    zygote: Zygote,
    tmp_path: Path,
    strict_sessions: Callable[[TestPair], Runtime],
    writers: str,
) -> None:
    pairs: list[TestPair] = []

    def renew() -> TestPair:
        """A history that failed left a pair on which no other can be judged."""
        pairs.append(templates.clone("replicating", tmp_path / f"histories{len(pairs)}.db"))
        return pairs[-1]

    Histories.renew = staticmethod(renew)
    Histories.pair, Histories.whole = renew(), True
    Histories.zygote = zygote
    Histories.writer = staticmethod(strict_sessions) if writers == "strict sessions" else None
    examples = 120 if ALL else 40 if writers == "strangers" else 25
    try:
        run_state_machine_as_test(
            Histories,
            settings=settings(
                max_examples=EXAMPLES or examples,
                derandomize=not EXAMPLES,
                stateful_step_count=20,
                deadline=None,
                database=None,
                phases=[Phase.generate],  # a history is shortest where it failed: databases remember
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        for pair in pairs:
            pair.close()
            templates.server.drop_database(str(pair.pair.postgres.database))
