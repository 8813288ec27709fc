"""Programs that a few tests need and that no Python package brings: a test names its own, and is skipped without it."""

from __future__ import annotations

import os
import shutil

import pytest

# Set to 1, a test run behaves as if none of them were installed.
HIDE = "ST_TEST_WITHOUT_PROGRAMS"
_FOLDERS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))


def find(program: str) -> str | None:
    """Where a program is; None if it is not installed, or hidden."""
    return None if os.environ.get(HIDE) == "1" else shutil.which(program, path=_FOLDERS)


def skip_without_programs(item: pytest.Item) -> None:
    """Skip a test that is marked `needs_program("name")` where the program is not."""
    for mark in item.iter_markers("needs_program"):
        if find(mark.args[0]) is None:
            pytest.skip(f"{mark.args[0]} is not installed")
