"""No test, script or program of the project needs a file outside of it: a clone alone is enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("backend", "deploy", "loadtests", "migration", "tests", ".ci")
SUFFIXES = {"", ".py", ".sh", ".toml", ".yml", ".yaml", ".conf", ".ini", ".service"}
_FROM_FILE = re.compile(r"__file__\)(?:\.resolve\(\)|\.absolute\(\))?((?:\.parents?(?:\[\d+\])?)+)")
_ABOVE_ROOT = re.compile(r"\b(?:ROOT|REPO)\.parent")
_UPWARDS = re.compile(r"(?<![\w.])((?:\.\./)+[\w./-]*)")
_OF_A_MACHINE = re.compile(r"/(?:home|work|root|Users)/\w")


def files() -> Iterator[Path]:
    """The Makefile, the settings and all that runs."""
    yield from (ROOT / name for name in ("Makefile", "pyproject.toml", "compose.yaml", "Dockerfile"))
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT).parts
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside[1:])
            if path.is_file() and path.suffix in SUFFIXES and not hidden:
                yield path


def steps_up(chain: str) -> int:
    """How many folders above its file a chain like `.parent.parents[1]` leads to."""
    return sum(int(number) + 1 if number else 1 for number in re.findall(r"\.parents?(?:\[(\d+)\])?", chain))


def outside(path: Path, line: str) -> bool:
    """Whether a line of a file refers to something that is not in the project."""
    depth = len(path.relative_to(ROOT).parts)
    above = any(steps_up(chain) > depth for chain in _FROM_FILE.findall(line))
    upwards = any(
        not (path.parent / target).resolve().is_relative_to(ROOT) for target in _UPWARDS.findall(line)
    )
    return bool(above or upwards or _ABOVE_ROOT.search(line) or _OF_A_MACHINE.search(line))


def test_no_line_refers_to_the_outside() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files()
        if path != Path(__file__)
        for line in path.read_text(encoding="utf-8").splitlines()
        if outside(path, line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("tests/conftest.py", 'FACTS = Path(__file__).resolve().parents[2] / "facts"'),
        ("tests/api/a.py", "FACTS = Path(__file__).parent.parent.parent.parent"),
        ("loadtests/stage/sample.py", 'RECORDED = REPO.parent / "sample.db.gz"'),
        ("Makefile", "\tcp ../shared/facts.json ."),
        (".ci/run", "cd /home/somebody/project"),
    ],
)
def test_such_a_line_is_seen(file: str, line: str) -> None:
    assert outside(ROOT / file, line)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("tests/conftest.py", "ROOT = Path(__file__).resolve().parents[1]"),
        ("loadtests/published.py", '"headline": ("../README.md", headline_table),'),
    ],
)
def test_a_line_within_the_project_is_not(file: str, line: str) -> None:
    assert not outside(ROOT / file, line)
