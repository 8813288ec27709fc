"""The application on a pair of databases in any mode: shared by the folders below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from tests.backend.served import Served, served


@pytest.fixture(scope="session")
def pairs(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres
) -> Iterator[Callable[[str], Served]]:
    """The application on a pair, by "MODE-PRIMARY"; there is one pair for each primary, and it serves in one mode."""
    made: dict[Side, Served] = {}
    folder = tmp_path_factory.mktemp("pairs")
    with ExitStack() as stack:

        def find(kind: str) -> Served:
            mode, primary = kind.split("-")
            side = Side(primary)
            if side not in made:
                made[side] = stack.enter_context(served(folder, postgres_server, side))
            made[side].serve(DualWrite(mode))
            return made[side]

        yield find
