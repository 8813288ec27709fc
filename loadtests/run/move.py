"""The move that the demo shows, step by step: the operator's commands while webhooks keep arriving.

Every command runs in a process of its own, and is repeated when it says (exit code 3) that it may be. The
second cutover is done by turning ST_DATABASE_URL round: the new backend is up, and the primary moved,
before the old one is told to go.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.judge.figures import Pause, latency, pause
from loadtests.judge.oracle import Verdict, judge
from loadtests.judge.watch import EVERY_S, Watch
from loadtests.run.chaos import Chaos, ChaosMigrate
from loadtests.show.lines import Story
from loadtests.stage.processes import Backend, Broken, Result, StMigrate
from loadtests.stage.stage import DATABASE, WEBHOOK_SECRET, Stage
from loadtests.traffic.ledger import Ledger, read_ledgers
from loadtests.traffic.payloads import Signals
from loadtests.traffic.sender import Sender

LOWEST_RATE = 4.0
SETTLE_S = 30.0


@dataclass
class Switch:
    """One move of the primary. Pauses in ms: as the tool reported it, and as the sender saw it."""

    name: str
    primary: str
    reported_ms: float | None
    seen: Pause
    seconds: float


@dataclass
class Run:
    """What the demo has found out so far."""

    results: list[Result] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    rows: int = 0
    copy_seconds: float = 0.0
    mismatches: int = 0
    repeats: int = 0
    problems: list[str] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


class Move:
    """Plays the whole story once.

    Args:
        stage: a stage that is not set up yet.
        story: where it is told.
        rate: deliveries per second that are aimed at.
        observe_s: how long the traffic is watched between two steps.
        seed: for signals and chaos.
        chaos: kill processes at random moments and repeat commands.
    """

    def __init__(
        self, stage: Stage, story: Story, *, rate: float, observe_s: float, seed: int, chaos: bool = False
    ) -> None:
        self.stage = stage
        self.story = story
        self.run = Run()
        self.verdict = Verdict()
        self._target_rate = rate
        self._observe_s = observe_s
        self._seed = seed
        self.chaos = Chaos(stage, story, seed) if chaos else None
        self.sender: Sender | None = None
        self.watch: Watch | None = None
        self._backend: Backend | None = None
        self._marker = stage.marker_prefix()

    # -- the story ----------------------------------------------------------------------------------

    def play(self) -> None:
        """All steps; raises Broken when a process does not do what it has to."""
        self._set_up()
        self._serve()
        self._command("preflight", accept=(0, 1), tell=_preflight)
        self._command("prepare")
        self._pace()
        self._copy()
        self._pace()
        self._verify()
        self._switch_by_command("cutover", "postgres")
        self._verify()
        self._switch_by_command("rollback", "sqlite")
        self._switch_by_restart()
        self._verify()
        self._finish()

    def _set_up(self) -> None:
        self.stage.set_up()
        size = self.stage.sqlite_path.stat().st_size / 1e6
        self.story.step(
            f"PostgreSQL runs on port {self.stage.postgres.port}; "
            f"the SQLite file has {size:.0f} MB ({self.stage.origin})"
        )

    def _serve(self) -> None:
        self._backend = self.stage.backend().start()
        self.story.step(f"the backend serves on SQLite at {self._backend.url} with 2 workers")
        signals = Signals(self._marker, self.stage.users, seed=self._seed)
        ledger = Ledger(self.stage.ledger_path)
        self.sender = Sender(
            signals, WEBHOOK_SECRET, ledger, target=self._backend.port, rate=self._target_rate
        )
        carries = self.sender.carries(2.0)
        self.sender.rate = min(self._target_rate, max(LOWEST_RATE, carries / 2))
        self.watch = Watch(self.stage.sqlite_path, self.stage.postgres.dsn(DATABASE))
        self.watch.start()
        self.sender.start()
        self.story.step(
            f"the file as it is carries {carries:.0f} webhooks/s here; sending {self.sender.rate:.0f}/s"
        )
        if self.chaos:
            self.chaos.start(self._backend)
        time.sleep(self._observe_s)

    def _copy(self) -> None:
        result = self._command("backfill")
        self.run.rows = int(result.data.get("rows_in_all", result.data.get("rows", 0)))
        self.run.copy_seconds = sum(r.seconds for r in self.run.results if r.verb == "backfill")

    def _verify(self) -> None:
        result = self._command("verify", accept=(0, 1))
        found = int(result.data.get("mismatches", 0))
        self.run.mismatches += found
        if found or result.exit:
            self.run.problems.append(f"verify: {result.message}")

    def _switch_by_command(self, verb: str, primary: str) -> None:
        at, results = time.time(), len(self.run.results)
        result = self._command(verb)
        pauses = [r.data["pause_ms"] for r in self.run.results[results:] if "pause_ms" in r.data]
        epoch = int(result.data.get("epoch", 0))
        self._switched(verb, primary, epoch, at, max(pauses, default=None), result.seconds)

    def _switch_by_restart(self) -> None:
        """The new backend is up, and the primary moved, before the old one is told to go."""
        assert self._backend and self.sender
        at = time.time()
        log_end = self.stage.backend_log.stat().st_size
        new = self.stage.backend(self.stage.env(primary="postgres", cutover="auto"))
        if self.chaos:
            self.chaos.start_roughly(new)
        else:
            new.start()
        seconds = time.time() - at
        self.sender.target = new.port
        old, self._backend = self._backend, new
        if self.chaos:
            self.chaos.watch_over(new)
        old.stop()
        reported = reported_pause(self.stage.backend_log, log_end)
        ready = new.ready() or {}
        epoch = int(ready.get("epoch") or 0)
        self._switched("turned URL, restart", "postgres", epoch, at, reported, seconds)
        if ready.get("primary") != "postgres":
            self.run.problems.append(f"after the restart the primary is {ready.get('primary')}")

    def _switched(
        self, name: str, primary: str, epoch: int, at: float, reported: float | None, seconds: float
    ) -> None:
        """Look at the moment of a switch that a command or a restart begun at `at` has brought about."""
        assert self.sender and self.watch
        until = time.time()
        time.sleep(max(1.0, self._observe_s))
        moment = self.watch.began(epoch)
        if moment is not None:
            at, until = max(at, moment - (reported or 1500.0) / 1000 - EVERY_S), moment
        seen = pause(self.sender.deliveries, at, until)
        self.run.switches.append(Switch(name, primary, reported, seen, seconds))
        told = f"{reported:.0f} ms reported, " if reported is not None else ""
        self.story.good(
            f"{primary} is primary: writers paused {told}{seen.gap:.0f} ms between two acknowledged webhooks, "
            f"{seen.wait:.0f} ms the slowest answer"
        )

    def _finish(self) -> None:
        assert self.sender and self.watch
        if self.chaos:
            self.chaos.stop()
        self.sender.stop()
        self._drain()
        self.watch.stop()
        self._verify()
        entries = read_ledgers([self.stage.ledger_path])
        self.verdict = judge(self._marker, entries, self.stage.sides())
        self.story.step(
            f"the oracle compared {self.verdict.deliveries} deliveries with both databases: "
            f"{len(self.verdict.findings)} findings"
        )

    def _drain(self) -> None:
        """Wait until the shadow has everything."""
        assert self.watch
        deadline = time.monotonic() + SETTLE_S
        seen = len(self.watch.samples)
        while time.monotonic() < deadline:
            fresh = self.watch.samples[seen:]
            if fresh and fresh[-1].lag_changes == 0:
                return
            time.sleep(0.05)
        self.run.problems.append(f"the shadow was still behind {SETTLE_S:.0f} s after the last webhook")

    # -- means --------------------------------------------------------------------------------------

    def _command(
        self,
        verb: str,
        *options: str,
        accept: tuple[int, ...] = (0,),
        tell: Callable[[Result], str] = lambda result: result.message,
    ) -> Result:
        """Run one command as an operator does: exit code 3 means that it may be repeated."""
        migrate: StMigrate = self.stage.migrate()
        if self.chaos:
            migrate = ChaosMigrate(migrate, self.chaos)
        for attempt in range(4):
            result = migrate.run(verb, *options)
            self.run.results.append(result)
            if result.exit in accept:
                self.story.step(
                    f"st-migrate {verb}: {tell(result)}  ({result.seconds:.1f} s; {self._traffic()})"
                )
                return result
            self.story.bad(f"st-migrate {verb} exited {result.exit}: {result.errors.strip()[-600:]}")
            if result.exit != 3 and not (self.chaos and attempt < 3):
                break
            self.run.repeats += 1
            time.sleep(1.0)
        raise Broken(f"st-migrate {verb} exited {result.exit}: {result.message}")

    def _traffic(self) -> str:
        if self.sender is None:
            return ""
        live = self.sender.live()
        return f"{live.acknowledged} webhooks acknowledged, {live.failed + live.unknown} not"

    def _pace(self) -> None:
        """Bring the rate nearer to what is aimed at, as far as answers stay quick."""
        assert self.sender
        now = time.time()
        recent = latency(self.sender.deliveries, now - 2, now)
        if recent.p99 < 400:
            self.sender.rate = min(self._target_rate, self.sender.rate * 2)
        elif recent.p99 > 1200:
            self.sender.rate = max(LOWEST_RATE, self.sender.rate / 2)
        self.run.rates.append(self.sender.rate)
        self.story.step(f"p99 of the last answers {recent.p99:.0f} ms; sending {self.sender.rate:.0f}/s now")

    @property
    def backend_url(self) -> str:
        """Where the backend serves now."""
        return self._backend.url if self._backend else ""

    def stop(self) -> None:
        """End the threads, whatever state they are in."""
        if self.chaos:
            self.chaos.stop()
        if self.sender:
            self.sender.stop()
        if self.watch:
            self.watch.stop()

    @property
    def clean(self) -> bool:
        """Whether everything held; with chaos a delivery may end without an answer, but never wrongly."""
        unanswered = 0 if self.chaos else self.verdict.failed + self.verdict.unknown
        complete = len(self.run.switches) == 3 and self.verdict.acknowledged > 0
        wrong = unanswered or self.run.mismatches or self.run.problems or self.verdict.findings
        return complete and not wrong


def _preflight(result: Result) -> str:
    return result.message or f"{len(result.data.get('findings', []))} findings"


def reported_pause(log: Path, start: int) -> float | None:
    """What the coordinator inside a backend wrote about its pause beyond an offset of the log, in ms."""
    with log.open("rb") as file:
        file.seek(start)
        words = file.read().decode(errors="replace").split("pause ")[1:]
    pauses = [float(word.split(" ")[0]) for word in words if word.split(" ")[0].replace(".", "").isdigit()]
    return max(pauses, default=None)
