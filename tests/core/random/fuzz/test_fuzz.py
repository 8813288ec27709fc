"""A few seeds of the fuzz, and by name those that once found something. `make fuzz` plays new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.stage.embedded import EmbeddedPostgres
from tests.core.random.fuzz.run import play

SEEDS = (2, 3)
FOUND = {
    1: "an address in a key in capital letters, which the check of the changed keys did not find",
    1795840890: "an instant in a key, spelt in more forms than its column had when it was copied",
}


@pytest.mark.parametrize("seed", [*SEEDS, *FOUND])
def test_a_seed_goes_there_and_back_and_there_again(
    tmp_path: Path, postgres_server: EmbeddedPostgres, seed: int
) -> None:
    played = play(seed, tmp_path, postgres_server, writes=30)
    assert played.written > 30
