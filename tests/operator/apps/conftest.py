"""Two empty databases for an application of PyPI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.operator.anyapp.conftest import Stranger
from tests.operator.anyapp.conftest import stranger as stranger


@pytest.fixture
def empty(
    tmp_path: Path, pg_url: str, capsys: pytest.CaptureFixture[str], own_stdout: None
) -> Callable[[], Stranger]:
    """Makes the pair; the application installs itself."""
    return lambda: Stranger(tmp_path / "app.db", pg_url, capsys)
