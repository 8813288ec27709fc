"""The installed tool: built as a wheel, put beside nothing but what it declares, run in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import sysconfig
import venv
import zipfile
from contextlib import closing
from importlib import metadata
from pathlib import Path

import psycopg
import pytest
from typer.main import get_command

from loadtests.stage.embedded import free_port
from migration.common.examples import EXAMPLES, manual
from migration.verbs.cli import app

ROOT = Path(__file__).resolve().parents[3]


def _declared(name: str, found: set[str]) -> set[str]:
    """The installed distributions that one needs without an extra of its own, itself among them."""
    found.add(name)
    for line in metadata.distribution(name).requires or ():
        needed = re.match(r"([\w.-]+)\s*(?:\[([\w,-]+)\])?", line)
        assert needed
        wanted = needed[1].lower().replace("_", "-")
        # An extra of the driver is a distribution named after both.
        for part in (wanted, *(f"{wanted}-{extra}" for extra in (needed[2] or "").split(","))):
            if "extra ==" not in line and part not in found and _is_there(part):
                _declared(part, found)
    return found


def _is_there(name: str) -> bool:
    try:
        return bool(metadata.distribution(name))
    except metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the wheel, in an environment with what the wheel declares; nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*pip, "wheel", *options, "-w", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=100,
        env={name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"},
    )
    (wheel,) = folder.glob("*.whl")
    place = folder / "env"
    venv.create(place, with_pip=False)
    subprocess.run(
        [*pip, "--python", str(place / "bin" / "python"), "install", "--no-deps", str(wheel)],
        check=True,
        capture_output=True,
        timeout=100,
    )
    (site,) = place.glob("lib/python*/site-packages")
    assert {path.name for path in site.glob("*") if not path.name.endswith(".dist-info")} == {"st_migrate"}
    for name in _declared("st-migrate", set()) - {"st-migrate"}:
        for file in metadata.distribution(name).files or ():
            top = file.parts[0]
            if top != ".." and top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(Path(str(metadata.distribution(name).locate_file(top))))
    return place / "bin" / "st-migrate"


def _run(program: Path, folder: Path, *arguments: str, code: int = 0) -> str:
    """One call in a folder, with an environment that knows nothing of this checkout."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")
    }
    done = subprocess.run(
        [str(program), *arguments], cwd=folder, env=kept, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_no_member_of_the_wheel_tells_when_it_was_built(installed: Path) -> None:
    """Two builds of one checkout are the same file."""
    (wheel,) = installed.parents[2].glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {member.date_time for member in archive.infolist()} == {(2020, 1, 1, 0, 0, 0)}


TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
# The printed link opens the page. Ctrl-C counts from then on: the program serves.
OPEN = (
    "import urllib.request as r; "
    "r.build_opener(r.HTTPCookieProcessor()).open(open('console.log').read().split()[-1]).read()"
)
_BLOCK = re.compile(r"```(sh)?\n(.*?)```", re.DOTALL)


def _shape(text: str) -> str:
    """A text without what differs from run to run."""
    return re.sub(r"/\S*/|[\dTZ.]*\d[\dTZ.]*", "~", text)


def _as_script(blocks: list[tuple[str, str]], port: int) -> tuple[str, list[str]]:
    """The blocks of commands, with this server's port, and the lines of output that the tutorial shows."""
    # What the extra `console` brings comes from here; all else needs only what the wheel declares.
    console = f"PYTHONPATH={shlex.quote(sysconfig.get_path('purelib'))} st-migrate console 2>console.log >&2 & tab=$!"
    lines = ["set -eu", "trap 'kill $(jobs -p) $(cat shop.pid) 2>/dev/null || true' EXIT"]
    shown: list[str] = []
    for is_command, text in blocks:
        if text == "st-migrate console\n":
            lines += [
                console,
                "until grep -q token= console.log; do sleep 0.1; done",
                f'python -c "{OPEN}"',
                "kill -INT $tab; wait $tab",
            ]
        elif is_command:
            lines.append(text.replace(":5433/", f":{port}/").replace("~/shop", "."))
        else:
            shown += text.splitlines()
    return "\n".join(lines), shown


def test_the_tutorial_goes_word_by_word_with_the_installed_tool(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    # The first two blocks need the network and a second terminal: the wheel is installed, the server started here.
    (_, install), (_, server), *blocks = _BLOCK.findall(TUTORIAL)
    assert "pip install '.[console]'" in install and server == "make postgres\n"
    script, shown = _as_script(blocks, port)
    (tmp_path / "app").mkdir()  # an application's own packages of these names do not count
    (tmp_path / "app" / "__init__.py").write_text("raise RuntimeError('not ours')")
    (tmp_path / "migration.py").write_text("raise RuntimeError('not ours')")
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("ST_", "PYTHON"))}
    mine["PATH"] = f"{installed.parent}:{mine['PATH']}"
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests.stage.embedded", str(port)], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        assert url.endswith(f":{port}/shop")
        done = subprocess.run(
            ["timeout", "90", "bash", "-mc", script],
            cwd=tmp_path,
            env=mine,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        with closing(sqlite3.connect(tmp_path / "app.db")) as file, psycopg.connect(url) as postgres:
            query = "SELECT id, item, cents FROM sale ORDER BY id"
            on_sqlite, on_postgres = file.execute(query).fetchall(), postgres.execute(query).fetchall()
    finally:
        process.terminate()
        process.communicate(timeout=60)
    output = (done.stdout + done.stderr).replace(str(tmp_path), "/of-you")
    said = {_shape(line) for line in output.splitlines()}
    assert [line for line in shown if _shape(line) not in said] == []
    assert len(on_sqlite) > 20  # sold on both sides; the shop went on after `complete`
    assert on_postgres[: len(on_sqlite)] == on_sqlite


def test_readme_shows_what_the_tutorial_does() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.partition("<!-- first run -->")[2].partition("<!-- /first run -->")[0]
    calls = re.findall(r"^st-migrate ([a-z]+) --sqlite app.db --postgres URL(.*)$", block, re.MULTILINE)
    assert len(calls) == 4
    for verb, rest in calls:
        words = [f"st-migrate {verb}", *re.findall(r"--[a-z-]+", rest)]
        assert any(all(word in line for word in words) for line in TUTORIAL.splitlines()), words


def test_it_says_what_is_missing_in_one_line(installed: Path, tmp_path: Path) -> None:
    done = json.loads(_run(installed, tmp_path, "status", "--json", code=2))
    assert done["message"] == "no sqlite database is named"
    assert done["hint"].startswith("give --sqlite FILE")


def test_sessions_follow_without_greenlet(installed: Path, tmp_path: Path) -> None:
    """SQLAlchemy 2.1 does not need it, and has no asynchronous sessions without it."""
    said = _run(
        installed.parent / "python", tmp_path, "-c",
        "import sqlalchemy.orm, sys; sys.modules['greenlet'] = None; from st_migrate import install; "
        "maker = sqlalchemy.orm.sessionmaker(sqlalchemy.create_engine('sqlite:///x.db')); "
        "install(maker, sqlite='sqlite:///x.db', postgres='postgresql://u@localhost/d'); print(maker.class_.__name__)",
    )  # fmt: skip
    assert said == "Session\n"


def test_the_shell_can_complete_and_the_version_is_told(installed: Path, tmp_path: Path) -> None:
    assert _run(installed, tmp_path, "--version") == f"st-migrate {metadata.version('st-migrate')}\n"
    # The command looks which shell has called it; `true` keeps this one from becoming the command itself.
    script = _run(Path("/bin/bash"), tmp_path, "-c", f"{shlex.quote(str(installed))} --show-completion; true")
    assert "_ST_MIGRATE_COMPLETE=complete_bash" in script


def test_every_command_has_an_example_that_parses() -> None:
    command = get_command(app)
    names = {
        f"{name} {sub}".strip()
        for name, found in command.commands.items()  # type: ignore[attr-defined]
        for sub in getattr(found, "commands", {"": None})
    }
    assert names - EXAMPLES.keys() == set()


def test_the_page_for_man_is_what_the_help_says() -> None:
    page = (ROOT / "docs" / "st-migrate.1").read_text(encoding="utf-8")
    assert page == manual(get_command(app), metadata.version("st-migrate")), "make man renews it"
