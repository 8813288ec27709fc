"""What may be broken: a server of a module's own, a pair on it, a file system that fills up."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.stage.embedded import EmbeddedPostgres
from tests.support.pairs import TestPair, new_sqlite


@pytest.fixture(scope="module")
def mortal() -> Iterator[EmbeddedPostgres]:
    """A server of the module's own, which may be stopped or killed."""
    with EmbeddedPostgres(light=True) as server:
        yield server


@pytest.fixture
def victim(mortal: EmbeddedPostgres, tmp_path: Path) -> Iterator[TestPair]:
    """A copied pair on that server."""
    new_sqlite(tmp_path / "victim.db")
    made = TestPair(tmp_path / "victim.db", mortal.create_database(f"v_{uuid.uuid4().hex[:8]}"))
    made.prepare()
    made.backfill()
    yield made
    made.close()


@contextmanager
def small_file_system(mount: Path, options: str) -> Iterator[Path]:
    """A file system in memory that fills up quickly; the test is skipped where none can be mounted."""
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system of its own can be mounted here: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)
