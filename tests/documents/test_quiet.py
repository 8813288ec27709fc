"""A failing test prints where it failed and the end of what it wrote, and not thousands of lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.quiet import shortened

ROOT = Path(__file__).resolve().parents[2]
NOISY = """
import logging, sys
import pytest
from tests.support.quiet import shorten_report

@pytest.fixture
def noise():
    logging.getLogger("backend").warning("log line\\n" * 900)
    print("out line\\n" * 900 + "last of out")
    print("err line\\n" * 900 + "last of err", file=sys.stderr)

def test_noisy(noise):
    assert [n for n in range(300)] == [], "\\n".join(f"row {n}" for n in range(900))

@pytest.mark.needs_program("no-such-program")
def test_skipped():
    raise AssertionError

@pytest.mark.needs_program("sh")
def test_hidden():
    pass
"""


def test_a_failing_test_says_little(tmp_path: Path) -> None:
    (tmp_path / "test_noisy.py").write_text(NOISY)
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path),
            "-p", "no:cacheprovider", "--show-capture=all", str(tmp_path),
        ],
        env=os.environ | {"CI": "true", "ST_TEST_WITHOUT_PROGRAMS": "1", "PYTHONPATH": f"{ROOT / 'backend'}{os.pathsep}{ROOT}"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) < 250
    assert {"last of out", "last of err"} <= set(lines)
    assert "test_noisy.py:13: in test_noisy" in done.stdout
    assert "no-such-program is not installed" in done.stdout
    assert "sh is not installed" in done.stdout
    assert "1 failed, 2 skipped" in lines[-1]


def test_shortened_says_how_much_is_left_out() -> None:
    text = "\n".join("abcdefghij")
    assert shortened(text, 10) == text
    assert shortened(text, 4, head=1).splitlines() == ["a", "[... 6 lines left out ...]", "h", "i", "j"]
