"""Processes that may be killed at a failpoint, each forked from one that has everything imported.

A process of its own per kill, without paying for the imports each time. The failpoints come by the
environment variable, as an operator's would. The zygote itself opens no database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


class Child:
    """A forked process; `wait` gives its exit status, negative for a signal."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self.pid = pid

    def wait(self) -> int:
        return int(self._zygote.ask({"wait": self.pid}))


class Zygote:
    """The client's end: start children and wait for them."""

    def __enter__(self) -> Zygote:
        environment = dict(os.environ, PYTHONPATH=f"{ROOT / 'backend'}:{ROOT}")
        environment.pop("ST_FAILPOINTS", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.dying.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, action: str, pair: Any, *arguments: Any, failpoints: str = "") -> Child:
        """Run one of `actions.ACTIONS` on a pair in a new process."""
        request = {
            "action": action,
            "path": str(pair.path),
            "url": pair.url,
            "arguments": arguments,
            "failpoints": failpoints,
        }
        return Child(self, int(self.ask(request)))

    def run(self, action: str, pair: Any, *arguments: Any, failpoints: str = "") -> int:
        """The same, to its end."""
        return self.start(action, pair, *arguments, failpoints=failpoints).wait()


@contextmanager
def _leaving() -> Iterator[None]:
    """The forked child never returns into the zygote's loop."""
    status = 1
    try:
        yield
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _serve() -> None:
    from app.db.common import failpoints
    from tests.support.dying.actions import ACTIONS
    from tests.support.pairs import TestPair

    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                with _leaving():
                    os.environ["ST_FAILPOINTS"] = request["failpoints"]
                    failpoints.arm_from_environment()
                    pair = TestPair(Path(request["path"]), request["url"])
                    ACTIONS[request["action"]](pair, *request["arguments"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
