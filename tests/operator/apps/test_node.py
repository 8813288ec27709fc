"""A service of Node.js, which no session layer of ours can reach: a worker beside it, and a restart at the switch.

It writes with better-sqlite3 before the move and with pg after it. npm builds the former, so this needs Node.js with its
headers (Debian: nodejs, npm, libnode-dev). Those that are not there make no failure: `make apps` says what was left out.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from tests.operator.anyapp.conftest import Stranger
from tests.operator.apps.conftest import PLAYED
from tests.support.pairs import wait_until

PACKAGES = ("better-sqlite3@12.11.1", "pg@8.23.1")
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not shutil.which("npm"), reason="Node.js is not installed"),
]


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drivers, built once; ST_TEST_APPS keeps them."""
    kept = os.environ.get("ST_TEST_APPS")
    folder = (Path(kept) if kept else tmp_path_factory.mktemp("apps")) / "node"
    folder.mkdir(parents=True, exist_ok=True)
    if not (
        folder / "node_modules" / "better-sqlite3" / "build" / "Release" / "better_sqlite3.node"
    ).exists():
        command = ["npm", "install", "--silent", "--nodedir=/usr", "--build-from-source", *PACKAGES]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder / "node_modules"


@pytest.fixture
def node(modules: Path) -> Callable[..., str]:
    def call(*arguments: str) -> str:
        done = subprocess.run(
            ["node", str(PLAYED / "node_app.cjs"), *arguments],
            env=os.environ | {"NODE_PATH": str(modules)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_a_service_of_node_moves_there_and_back(
    empty: Callable[[], Stranger], node: Callable[..., str], modules: Path, tmp_path: Path
) -> None:
    sides = empty()
    lite, postgres = str(sides.path), _quoted(sides.url)
    for url in (lite, postgres):
        node("install", url)
    node("write", lite, "20")
    service = _service(tmp_path, modules, lite, postgres)
    subprocess.run([service["start"]], check=True, env=os.environ | {"ST_PRIMARY": "sqlite"})
    try:
        assert sides.done("run", "--schema", "existing").outcome == "ready"
        sides.done("worker", "--until-drained")
        sides.done("verify")
        old = subprocess.Popen(
            ["node", str(PLAYED / "node_app.cjs"), "serve", lite],
            env=os.environ | {"NODE_PATH": str(modules)},
            stdout=subprocess.PIPE,
            text=True,
        )
        with old:
            assert old.stdout is not None and old.stdout.readline() == "wrote\n"
            sides.done("cutover", "--stop", service["stop"], "--start", service["start"])
            heard = next(line for line in old.stdout if "the primary is postgres" in line)
            old.send_signal(signal.SIGTERM)
        assert heard.startswith("SQLITE_ERROR: ") and "sqlite takes no application writes" in heard
        before = json.loads(node("read", postgres))
        wait_until(lambda: len(json.loads(node("read", postgres))[0]) > len(before[0]), seconds=60)
        sides.done("worker", "--until-drained")
        sides.done("verify")
        sides.done("rollback", "--stop", service["stop"], "--start", service["start"])
        after = json.loads(node("read", lite))
        assert after[0][: len(before[0])] == before[0]
        wait_until(lambda: len(json.loads(node("read", lite))[0]) > len(after[0]), seconds=60)
    finally:
        subprocess.run([service["stop"]], check=True)


def _quoted(url: str) -> str:
    """The same server as `pg` takes it: every letter of the password that means something is escaped."""
    made = sa.make_url(url)
    password = quote(str(made.password), safe="")
    return f"postgresql://{made.username}:{password}@{made.host}:{made.port}/{made.database}"


def _service(place: Path, modules: Path, lite: str, postgres: str) -> dict[str, str]:
    """Commands that start it on the side that is primary, and stop it, as an operator has them."""
    program = PLAYED / "node_app.cjs"
    scripts = {
        "start": f'url="{lite}"; [ "$ST_PRIMARY" = postgres ] && url="{postgres}"\n'
        f'NODE_PATH="{modules}" nohup node "{program}" serve "$url" >>"{place}/said.txt" 2>&1 </dev/null &\n'
        f'echo $! >"{place}/pid"\n',
        "stop": f'pid=$(cat "{place}/pid"); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done\n',
    }
    for name, text in scripts.items():
        (place / f"{name}.sh").write_text("#!/bin/sh\n" + text)
        (place / f"{name}.sh").chmod(0o755)
    return {name: str(place / f"{name}.sh") for name in scripts}
