"""The embedded server works from a copy, for users who may not enter the wheel's own folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from loadtests.stage.embedded import copied_wheel


@pytest.mark.parametrize("program", ["initdb", "postgres", "pg_dump"])
def test_a_copied_program_finds_its_libraries(program: str, tmp_path: Path) -> None:
    binaries = copied_wheel(tmp_path / "wheel")
    assert binaries.is_relative_to(tmp_path)
    told = subprocess.run([str(binaries / program), "--version"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
