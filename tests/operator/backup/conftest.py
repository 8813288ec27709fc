"""What every test of the copies has."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_stdout(own_stdout: None) -> None:
    """The command's answer is all that stands on stdout."""
