"""One history: clients write while the pair is moved there and back, and things break at random.

    python -m tests.core.random.history.run --seconds 60 --seed 7

prepare, backfill, verify, then cutover and rollback in turn until the time is over. Between and during the
commands a seeded draw kills the clients, kills a command at a failpoint, cuts, resets, stalls or slows the
way to PostgreSQL, or crashes the server. Prints one JSON object; exit code 1 if the judge finds anything.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from app.db.common.failpoints import Failpoint
from app.db.common.settings import DualWrite
from loadtests.stage.embedded import EmbeddedPostgres
from tests.core.outage.proxy import Mode, Proxy
from tests.core.random.history.judge import Verdict
from tests.core.random.history.world import World, make_template

FINISH_S = 120.0
EVERY_S = (1.0, 4.0)


class Trouble:
    """Breaks something now and then, in a thread of its own."""

    def __init__(self, world: World, proxy: Proxy, server: EmbeddedPostgres, seed: int) -> None:
        self.happened: Counter[str] = Counter()
        self._draw = random.Random(seed)
        self._seed = seed
        self._world, self._proxy, self._server = world, proxy, server
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._kinds: tuple[Callable[[], None], ...] = (
            self._cut, self._reset, self._stall, self._slow, self._crash, self._kill_clients,
        )  # fmt: skip

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Everything works from now on."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._draw.uniform(*EVERY_S)):
            kind = self._draw.choice(self._kinds)
            self.happened[kind.__name__[1:]] += 1
            kind()

    def _cut(self) -> None:
        self._proxy.cut()

    def _reset(self) -> None:
        self._proxy.reset()

    def _stall(self) -> None:
        self._for_a_while(Mode.STALL)

    def _slow(self) -> None:
        self._for_a_while(Mode.SLOW)

    def _for_a_while(self, mode: Mode) -> None:
        self._proxy.mode = mode
        self._stopping.wait(self._draw.uniform(0.2, 2.0))
        self._proxy.mode = Mode.PASS

    def _crash(self) -> None:
        self._server.restart(signal.SIGQUIT)

    def _kill_clients(self) -> None:
        self._world.kill_clients()
        self._world.start_clients(self._seed)


def _finish(world: World, *verb: str, answers: Counter[str]) -> None:
    deadline = time.monotonic() + FINISH_S
    while (ended := world.call(*verb)).code != 0:
        answers[f"{verb[0]}: {ended.code} {ended.message[:120]}"] += 1
        if time.monotonic() > deadline:
            raise AssertionError(f"{verb} does not finish: {ended}")
        time.sleep(0.3)


def history(seed: int, seconds: float, mode: str | None = None) -> tuple[Verdict, dict[str, object]]:
    """One history in a directory of its own, which is kept if something is found; the mode is drawn if not given."""
    draw = random.Random(seed)
    base = Path(tempfile.mkdtemp(prefix="st-history-"))
    dual_write = draw.choice(("sync", "sync", "async", "strict"))
    dual_write = mode or dual_write
    answers: Counter[str] = Counter()
    switches = 0
    with EmbeddedPostgres(light=True) as server:
        make_template(base / "template.db")
        proxy = Proxy(server.port, delay_s=0.02)
        (base / "world").mkdir()
        world = World(base / "template.db", server, base / "world", port=proxy.port, dual_write=dual_write)
        trouble = Trouble(world, proxy, server, seed)
        try:
            world.start_clients(seed)
            trouble.start()
            for verb in ("prepare", "backfill", "verify"):
                _finish(world, verb, answers=answers)
            until = time.monotonic() + seconds
            while time.monotonic() < until or switches < 2:
                verb = ("cutover", "rollback")[switches % 2]
                if draw.random() < 0.5:
                    point = draw.choice([p for p in Failpoint if p.startswith(("switch.", "apply."))])
                    answers[f"{verb} armed with {point}: {world.call(verb, arm=f'{point}=kill').code}"] += 1
                _finish(world, verb, answers=answers)
                switches += 1
            trouble.stop()
            world.stop_clients()
            _finish(world, "recover", answers=answers)
            _finish(world, "worker", "--until-drained", answers=answers)
            _finish(world, "verify", answers=answers)
            verdict = world.judge()
        finally:
            trouble.stop()
            world.close()
            proxy.close()
    if verdict.findings:
        verdict.findings.append(f"kept: {base}")
    else:
        shutil.rmtree(base)
    told: dict[str, object] = {
        "seed": seed,
        "dual_write": dual_write,
        "switches": switches,
        "operations": dict(verdict.counts),
        "trouble": dict(trouble.happened),
        "answers": dict(answers),
        "findings": verdict.findings,
    }
    return verdict, told


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each history's switching")
    parser.add_argument("--seed", type=int, default=None, help="drawn and printed if not given")
    parser.add_argument("--mode", choices=list(DualWrite), help="ST_DUAL_WRITE of the clients")
    parser.add_argument("--hours", type=float, default=0.0, help="history after history for so long")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that everything started is ended
    seed = random.randrange(10**6) if given.seed is None else given.seed
    until, bad = time.monotonic() + given.hours * 3600, 0
    while True:
        print(f"seed {seed}", file=sys.stderr, flush=True)
        verdict, told = history(seed, given.seconds, given.mode)
        print(json.dumps(told), flush=True)
        bad += bool(verdict.findings)
        seed += 1
        if time.monotonic() >= until:
            return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
