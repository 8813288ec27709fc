"""Fixtures that every test may use: one PostgreSQL server per run, one database per test."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import signal
import sys
import uuid
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from loadtests.stage import sample
from loadtests.stage.embedded import EmbeddedPostgres
from tests.core.modes.chosen import MODES, PAIRS
from tests.support.programs import skip_without_programs
from tests.support.quiet import shorten_report

# What this shell is set to for other databases is not meant for the tests.
for _name in [name for name in os.environ if name.startswith(("PG", "ST_"))]:
    if not _name.startswith("ST_TEST_"):
        del os.environ[_name]
# A shell that starts the tests in the background has these ignored, and every process that a test starts would too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Nothing is lost with a test's file; the tests of the copies switch them on.
os.environ.setdefault("ST_SQLITE_BACKUP", "off")


# The folders of tests that take longest, the longest first.
_LONGEST = ("backend", "operator", "core", "data")


class ByFolder(LoadFileScheduling):
    """A process stays in one folder for as long as that has files, and makes what its tests share only once.

    What a folder shares (prepared pairs, filled databases) takes some ten seconds to make, in each process anew.
    """

    def _assign_work_unit(self, node: Any) -> None:
        taken = {of: _folder(next(reversed(units))) for of, units in self.assigned_work.items() if units}
        self.workqueue.move_to_end(
            min(self.workqueue, key=lambda file: self._rank(_folder(file), taken.get(node), taken.values())),
            last=False,
        )
        super()._assign_work_unit(node)

    def _rank(self, folder: str, own: str | None, taken: Collection[str]) -> tuple[bool, bool, int]:
        """The process's own folder, then one that no process is in, then any; of several the longest one."""
        return folder != own, folder in taken, _LONGEST.index(folder) if folder in _LONGEST else len(_LONGEST)


def _folder(file: str) -> str:
    return file.removeprefix("tests/").partition("/")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """How the files are shared out among the processes of `--dist loadfile`."""
    return ByFolder(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_report_header() -> list[str]:
    """What the suites go through that run in the modes of dual write."""
    return [
        f"dual-write modes: {', '.join(MODES)}; the HTTP suites also on a pair: "
        + ", ".join(f"{mode} with {side} as primary" for mode, side in PAIRS)
    ]


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what is loaded by now: nothing of it ends before the process does."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    skip_without_programs(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        shorten_report(report)
    return report


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL server; with pytest-xdist each worker has its own."""
    with EmbeddedPostgres(light=True) as server:
        yield server


@pytest.fixture
def pg_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh, empty database."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def sample_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database like one that a live application has used for long; to be copied by who writes.

    The processes of a run share one: the first that needs the file makes it.
    """
    own = tmp_path_factory.getbasetemp()
    path = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "sample.db"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            made = path.with_suffix(".new")
            sample.make(made)
            made.rename(path)
    return path


@pytest.fixture
def own_stdout() -> None:
    """Take the backend's log lines off stdout, where another test of this process may have put them."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, logging.StreamHandler)]:
        if (
            getattr(handler, "stream", None) in (sys.stdout, sys.__stdout__)
            or "Stdout" in type(handler).__name__
        ):
            root.removeHandler(handler)
