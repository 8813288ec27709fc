"""Fixtures of the load tests' own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load.load_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two databases that agree with a ledger until a test damages one."""
    made = World(tmp_path)
    yield made
    made.close()
