"""The demo: a live database moves from SQLite to PostgreSQL, back, and there again, under webhook traffic.

A backend with two workers serves on SQLite; a sender that behaves like TradingView keeps delivering. The
operator's own commands run in processes of their own: preflight, prepare, backfill, verify, cutover, verify,
rollback; the second cutover is done by turning ST_DATABASE_URL round and a rolling restart. Then the oracle
compares every answer the sender was given with both databases. Exit code 1 if anything was lost, doubled,
altered, failed or different.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.chaos import Chaos, ChaosMigrate
from loadtests.figures import Pause, latency, pause
from loadtests.ledger import Ledger, read_ledgers
from loadtests.oracle import Verdict, judge
from loadtests.payloads import Signals
from loadtests.processes import Backend, Broken, Result, StMigrate
from loadtests.sender import Sender
from loadtests.stage import DATABASE, WEBHOOK_SECRET, Stage
from loadtests.story import Story
from loadtests.watch import Watch

TARGET_RATE = 60.0
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


class Demo:
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
        self._chaos = Chaos(stage, story, seed) if chaos else None
        self._sender: Sender | None = None
        self._watch: Watch | None = None
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
        self._sender = Sender(
            signals, WEBHOOK_SECRET, ledger, target=self._backend.port, rate=self._target_rate
        )
        carries = self._sender.carries(2.0)
        self._sender.rate = min(self._target_rate, max(LOWEST_RATE, carries / 2))
        self._watch = Watch(self.stage.sqlite_path, self.stage.postgres.dsn(DATABASE))
        self._watch.start()
        self._sender.start()
        self.story.step(
            f"the file as it is carries {carries:.0f} webhooks/s here; sending {self._sender.rate:.0f}/s"
        )
        if self._chaos:
            self._chaos.start(self._backend)
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
        self._switched(verb, primary, at, max(pauses, default=None), result.seconds)

    def _switch_by_restart(self) -> None:
        """The new backend is up, and the primary moved, before the old one is told to go."""
        assert self._backend and self._sender
        at = time.time()
        log_end = self.stage.backend_log.stat().st_size
        new = self.stage.backend(self.stage.env(primary="postgres", cutover="auto"))
        if self._chaos:
            self._chaos.start_roughly(new)
        else:
            new.start()
        seconds = time.time() - at
        self._sender.target = new.port
        old, self._backend = self._backend, new
        if self._chaos:
            self._chaos.watch_over(new)
        old.stop()
        reported = reported_pause(self.stage.backend_log, log_end)
        self._switched("restart with ST_DATABASE_URL turned round", "postgres", at, reported, seconds)
        ready = new.ready() or {}
        if ready.get("primary") != "postgres":
            self.run.problems.append(f"after the restart the primary is {ready.get('primary')}")

    def _switched(self, name: str, primary: str, at: float, reported: float | None, seconds: float) -> None:
        assert self._sender
        until = time.time()
        time.sleep(max(1.0, self._observe_s))
        seen = pause(self._sender.deliveries, at, until)
        self.run.switches.append(Switch(name, primary, reported, seen, seconds))
        told = f"{reported:.0f} ms reported, " if reported is not None else ""
        self.story.good(
            f"{primary} is primary: writers paused {told}{seen.gap:.0f} ms between two acknowledged webhooks, "
            f"{seen.wait:.0f} ms the slowest answer"
        )

    def _finish(self) -> None:
        assert self._sender and self._watch
        if self._chaos:
            self._chaos.stop()
        self._sender.stop()
        self._drain()
        self._watch.stop()
        self._verify()
        entries = read_ledgers([self.stage.ledger_path])
        self.verdict = judge(self._marker, entries, self.stage.sides())
        self.story.step(
            f"the oracle compared {self.verdict.deliveries} deliveries with both databases: "
            f"{len(self.verdict.findings)} findings"
        )

    def _drain(self) -> None:
        """Wait until the shadow has everything."""
        assert self._watch
        deadline = time.monotonic() + SETTLE_S
        seen = len(self._watch.samples)
        while time.monotonic() < deadline:
            fresh = self._watch.samples[seen:]
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
        if self._chaos:
            migrate = ChaosMigrate(migrate, self._chaos)
        for attempt in range(4):
            result = migrate.run(verb, *options)
            self.run.results.append(result)
            if result.exit in accept:
                self.story.step(
                    f"st-migrate {verb}: {tell(result)}  ({result.seconds:.1f} s; {self._traffic()})"
                )
                return result
            self.story.bad(f"st-migrate {verb} exited {result.exit}: {result.errors.strip()[-600:]}")
            if result.exit != 3 and not (self._chaos and attempt < 3):
                break
            self.run.repeats += 1
            time.sleep(1.0)
        raise Broken(f"st-migrate {verb} exited {result.exit}: {result.message}")

    def _traffic(self) -> str:
        if self._sender is None:
            return ""
        live = self._sender.live()
        return f"{live.acknowledged} webhooks acknowledged, {live.failed + live.unknown} not"

    def _pace(self) -> None:
        """Bring the rate nearer to what is aimed at, as far as answers stay quick."""
        assert self._sender
        now = time.time()
        recent = latency(self._sender.deliveries, now - 2, now)
        if recent.p99 < 400:
            self._sender.rate = min(self._target_rate, self._sender.rate * 2)
        elif recent.p99 > 1200:
            self._sender.rate = max(LOWEST_RATE, self._sender.rate / 2)
        self.run.rates.append(self._sender.rate)
        self.story.step(f"p99 of the last answers {recent.p99:.0f} ms; sending {self._sender.rate:.0f}/s now")

    @property
    def backend_url(self) -> str:
        """Where the backend serves now."""
        return self._backend.url if self._backend else ""

    def stop(self) -> None:
        """End the threads, whatever state they are in."""
        if self._chaos:
            self._chaos.stop()
        if self._sender:
            self._sender.stop()
        if self._watch:
            self._watch.stop()

    # -- the end ------------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """Everything that was measured, as JSON holds it."""
        assert self._sender and self._watch
        changes, seconds = self._watch.highest_lag(phase="replicating")
        deliveries, verdict = self._sender.deliveries, self.verdict
        first = min((d.attempts[0].at for d in deliveries), default=0.0)
        last = max((d.attempts[-1].at for d in deliveries), default=0.0)
        times = latency(deliveries, first, last + 1e-3)
        return {
            "database": self.stage.origin,
            "python": platform.python_version(),
            "rows_copied": self.run.rows,
            "copy_seconds": self.run.copy_seconds,
            "rows_per_second": self.run.rows / self.run.copy_seconds if self.run.copy_seconds else 0.0,
            "webhooks": {
                "sent": verdict.deliveries,
                "per_second": times.rate,
                "acknowledged": verdict.acknowledged,
                "refused_on_purpose": verdict.refused,
                "resent": sum(len(d.attempts) - 1 for d in deliveries),
                "failed": verdict.failed,
                "unanswered": verdict.unknown,
                "lost": verdict.count("lost"),
                "doubled": verdict.count("doubled"),
                "different": verdict.count("different", "refused_but_stored"),
            },
            "answer_ms": {"p50": times.p50, "p99": times.p99, "worst": times.worst},
            "switches": [asdict(switch) for switch in self.run.switches],
            "highest_lag": {"changes": changes, "seconds": seconds},
            "mismatches": self.run.mismatches,
            "commands_repeated": self.run.repeats,
            "kills": self._chaos.kills if self._chaos else 0,
            "problems": self.run.problems,
            "seconds": self.story.elapsed,
        }

    @property
    def clean(self) -> bool:
        """Whether everything held; with chaos a delivery may end without an answer, but never wrongly."""
        unanswered = 0 if self._chaos else self.verdict.failed + self.verdict.unknown
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


def table_rows(figures: dict[str, Any]) -> list[tuple[str, Any]]:
    """The closing table."""
    webhooks, answers = figures["webhooks"], figures["answer_ms"]
    rows: list[tuple[str, Any]] = [
        ("rows copied", figures["rows_copied"]),
        ("rows per second", figures["rows_per_second"]),
        *((f"webhooks {name.replace('_', ' ')}", value) for name, value in webhooks.items()),
        ("answer, median / p99 / worst", " / ".join(f"{answers[k]:.0f}" for k in answers) + " ms"),
    ]
    for switch in figures["switches"]:
        reported = "-" if switch["reported_ms"] is None else f"{switch['reported_ms']:.0f}"
        seen = switch["seen"]
        rows.append(
            (
                f"pause: {switch['name']}",
                f"{reported} ms reported, {seen['gap']:.0f} ms gap, {seen['wait']:.0f} ms slowest answer",
            )
        )
    lag = figures["highest_lag"]
    rows += [
        ("highest lag", f"{lag['changes']} changes, {lag['seconds'] * 1000:.0f} ms"),
        ("mismatches", figures["mismatches"]),
        ("seconds in all", figures["seconds"]),
    ]
    return rows


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rate", type=float, default=TARGET_RATE, help="webhooks per second to aim at")
    parser.add_argument("--quick", action="store_true", help="watch less between the steps")
    parser.add_argument("--keep", action="store_true", help="leave the servers up until Ctrl-C")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--seed", type=int, default=1, help="seed of the payloads")
    parser.add_argument("--chaos", action="store_true", help="kill -9 at random moments, and repeat commands")
    parser.add_argument("--made", action="store_true", help="make the database even if the sample is there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    story = Story()
    story.title("A live SigmaTrader moves from SQLite to PostgreSQL, back, and there again")
    recorded = {"recorded": Path("/nonexistent")} if options.made else {}
    with Stage(seed=options.seed, **recorded) as stage:
        demo = Demo(
            stage,
            story,
            rate=options.rate,
            observe_s=1.0 if options.quick else 4.0,
            seed=options.seed,
            chaos=options.chaos,
        )
        try:
            return _play(demo, options)
        except KeyboardInterrupt:
            story.bad("interrupted: everything that was started is being ended")
            return 130
        finally:
            demo.stop()


def _play(demo: Demo, options: argparse.Namespace) -> int:
    try:
        demo.play()
    except Broken as broken:
        demo.story.bad(str(broken))
        demo.run.problems.append(str(broken))
    figures = demo.figures() | {"clean": demo.clean}
    demo.story.table(table_rows(figures))
    for finding in demo.verdict.findings[:10]:
        demo.story.bad(f"{finding.kind} on {finding.side}: {finding.what}: {finding.detail}")
    for problem in demo.run.problems:
        demo.story.bad(problem)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if demo.clean:
        demo.story.good("nothing was lost, doubled, altered, failed or different")
    else:
        demo.story.bad("NOT clean; the last lines of the backend:")
        demo.story.plain(demo.stage.backend_log.read_text(encoding="utf-8", errors="replace")[-3000:])
    if options.keep:
        _keep(demo)
    return 0 if demo.clean else 1


def _keep(demo: Demo) -> None:
    """Tell where everything is, and wait for Ctrl-C."""
    stage, story = demo.stage, demo.story
    env = " \\\n  ".join(
        f"{name}='{value}'" for name, value in stage.env(primary="postgres").items() if "DATABASE" in name
    )
    story.plain(f"\nbackend      {demo.backend_url}/health/ready  /metrics  /docs")
    story.plain(f"psql         psql '{stage.postgres.dsn(DATABASE)}'")
    story.plain(f"sqlite       sqlite3 'file:{stage.sqlite_path}?mode=ro'")
    story.plain(f"st-migrate   {env} \\\n  st-migrate status")
    story.plain(f"logs         {stage.base}\n\nCtrl-C ends everything.")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    sys.exit(main())
