"""Real applications from PyPI, each in an environment of its own, moved there and back through its own API.

    install on both -> write on SQLite -> run, while it writes -> cutover -> read everything on PostgreSQL, write
    -> rollback -> read everything on SQLite, write

They download packages and take a minute each: `make apps`.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.operator.anyapp.conftest import Stranger

PLAYED = Path(__file__).resolve().parent / "played"
PACKAGES = {
    "optuna": ("optuna==5.0.0", "psycopg[binary]==3.3.9"),
    "django": ("django==5.2.19", "psycopg[binary]==3.3.9"),
}
DRIVER = {"optuna": "postgresql+psycopg", "django": "postgresql"}
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Application:
    """One application and the two databases it may be told to use."""

    python: Path
    script: Path
    sqlite: str
    postgres: str

    def command(self, what: str, url: str, *more: str) -> list[str]:
        return [str(self.python), str(self.script), what, url, *more]

    def call(self, what: str, url: str, *more: str) -> str:
        done = subprocess.run(self.command(what, url, *more), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


def _application(name: str, sides: Stranger, tmp_path: Path) -> Application:
    place = tmp_path / "env"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *PACKAGES[name]]
    subprocess.run(pip, check=True, capture_output=True, timeout=400)
    url = DRIVER[name] + "://" + sides.url.partition("://")[2]
    return Application(python, PLAYED / f"{name}_app.py", f"sqlite:///{sides.path}", url)


@pytest.mark.parametrize("name", PACKAGES)
def test_it_moves_there_and_back(name: str, empty: Callable[[], Stranger], tmp_path: Path) -> None:
    sides = empty()
    app = _application(name, sides, tmp_path)
    for url in (app.sqlite, app.postgres):
        app.call("install", url)
    app.call("write", app.sqlite, "30")
    assert sides.done("preflight", "--schema", "existing").outcome == "clean"
    with subprocess.Popen(
        app.command("write", app.sqlite, "20"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as writing:
        assert sides.done("run", "--schema", "existing").outcome == "ready"
        _, said = writing.communicate(timeout=300)
        assert writing.returncode == 0, said[-2000:]
    sides.done("worker", "--until-drained")
    sides.done("verify")
    before = app.call("read", app.sqlite)
    sides.done("cutover")
    assert app.call("read", app.postgres) == before
    written = app.call("write", app.postgres, "5")
    sides.done("worker", "--until-drained")
    sides.done("verify")
    sides.done("rollback")
    assert app.call("read", app.sqlite) == written
    app.call("write", app.sqlite, "2")
