"""A few seeds of the fuzz; `make fuzz` plays new ones. What it found stands as small tests beside what it was about."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.stage.embedded import EmbeddedPostgres
from tests.core.random.fuzz.run import play


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_seed_goes_there_and_back_and_there_again(
    tmp_path: Path, postgres_server: EmbeddedPostgres, seed: int
) -> None:
    played = play(seed, tmp_path, postgres_server, writes=30)
    assert played.written > 30
