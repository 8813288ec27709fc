"""`make image`: the steps of the Dockerfile in an empty folder, without a container engine.

COPY takes only what .dockerignore lets through, RUN's installations go into a fresh environment of Python, and CMD
starts the backend from there, as a deployment: with secrets, on a SQLite file, with a port of its own. It must become
ready. What only an image can have is left out: the base image, users, and folders at the root.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 60.0


def steps(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Each instruction with its words, lines that are continued joined."""
    for line in dockerfile.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            instruction, _, words = line.strip().partition(" ")
            yield instruction, words


def left_out(folder: str, names: list[str], refused: list[str]) -> set[str]:
    """What .dockerignore keeps away from a copied folder."""
    return {name for name in names if any(fnmatch(name, pattern) for pattern in refused)}


def copy(words: str, to: Path) -> None:
    """A COPY of files or of one folder; ValueError if .dockerignore does not let it through."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    refused = [line.removeprefix("**/") for line in ignore if line.startswith("**/")]
    *sources, target = words.split()
    for source in sources:
        if source not in allowed:
            raise ValueError(f".dockerignore keeps {source} away")
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to / target, ignore=lambda at, names: left_out(at, names, refused))
        else:
            shutil.copy(ROOT / source, to / target)


def run(words: str, folder: Path, env: dict[str, str]) -> None:
    """A RUN, without the parts that need root."""
    for part in (part.strip() for part in words.split("&&")):
        if part.startswith("pip "):
            subprocess.run(shlex.split(part), cwd=folder, env=env, check=True)
        elif not part.startswith(("useradd ", "install -d ")):
            raise ValueError(f"this rehearsal does not know how to do without root: {part}")


def serve(command: list[str], folder: Path, env: dict[str, str]) -> None:
    """Start CMD, wait until it is ready, and end it; RuntimeError if it is not ready in time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(port) if word == "8000" else word for word in command]
    settings = {f"ST_{name}": f"rehearsal-{name.lower()}-0123456789abcdef" for name in
                ("CRYPTO_KEY", "TRADINGVIEW_WEBHOOK_SECRET", "ADMIN_PASSWORD")}  # fmt: skip
    settings |= {"ST_ENVIRONMENT": "prod", "ST_ADMIN_USERNAME": "admin",
                 "ST_DATABASE_URL": f"sqlite:///{folder.parent / 'data.db'}"}  # fmt: skip
    process = subprocess.Popen(command, cwd=folder, env=env | settings, start_new_session=True)
    try:
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2) as answer:
                    print(f"ready: {json.load(answer)}")
                    return
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the backend did not become ready") from None
                time.sleep(0.1)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def main() -> int:
    """Do all steps; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="image-") as base:
        folder, venv = Path(base) / "srv", Path(base) / "python"
        folder.mkdir()
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ST_", "PYTHON"))}
        env = kept | {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        for instruction, words in steps((ROOT / "Dockerfile").read_text(encoding="utf-8")):
            print(f"{instruction} {words}", flush=True)
            if instruction == "COPY":
                copy(words, folder)
            elif instruction == "RUN":
                run(words, folder, env)
            elif instruction == "ENV":
                env |= dict(re.findall(r"(\w+)=(\S+)", words))
            elif instruction == "CMD":
                serve(json.loads(words), folder, env)
            elif instruction not in ("FROM", "WORKDIR", "USER", "EXPOSE"):
                raise ValueError(f"this rehearsal does not know {instruction}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
