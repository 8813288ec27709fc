"""Drive every phase of a move while a locust profile runs, and give a verdict.

    python -m loadtests.cutover_under_load --profile market_open --report report.html

preflight, prepare, backfill, verify; then cutover, rollback and cutover again, each begun at the moment
when the profile rises to its peak. The profile repeats until the last phase is over, and never longer
than `--max-seconds`. Exit code 0: every bound of the profile held and nothing was lost, doubled or altered.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.figures import latency, pause
from loadtests.ledger import Delivery, Ledger, read_ledgers
from loadtests.oracle import Verdict, judge
from loadtests.payloads import Signals
from loadtests.processes import REPO, Backend, Broken, Result, kill_group, python_env
from loadtests.profiles import PROFILES, Profile
from loadtests.report import charts, flat, page
from loadtests.sender import Sender
from loadtests.stage import ADMIN, DATABASE, WEBHOOK_SECRET, Stage
from loadtests.story import Story
from loadtests.svg import Mark
from loadtests.watch import EVERY_S, Watch

BEFORE_S = 3.0
STOP_S = 40.0
SHARE = 0.7  # of what the machine carries that the peak may ask for
SWITCHES = (("cutover", "postgres"), ("rollback", "sqlite"), ("cutover", "postgres"))


@dataclass
class Switch:
    """One switch: when it was, what the tool reported, and what the senders noticed, in ms."""

    name: str
    begin: float
    end: float
    reported_ms: float
    gap_ms: float = 0.0
    slowest_ms: float = 0.0


@dataclass
class Outcome:
    """What a run has shown."""

    switches: list[Switch] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


class UnderLoad:
    """One run of one profile.

    Args:
        stage: not set up yet.
        profile: the load.
        story: where it is told.
        max_seconds: the load never lasts longer.
        scale: so many times the profile's users; None: as many as the machine carries, at most all.
    """

    def __init__(
        self, stage: Stage, profile: Profile, story: Story, max_seconds: float, scale: float | None = None
    ) -> None:
        self.outcome = Outcome()
        self._stage = stage
        self._profile = profile
        self._story = story
        self._max_seconds = max_seconds
        self._scale = scale
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ledgers: list[Path] = []
        self._watch: Watch | None = None
        self._marker = stage.marker_prefix()
        self._began = 0.0

    def play(self) -> None:
        """All phases under load, then the verdict; Broken when a command fails."""
        stage = self._stage
        stage.set_up()
        backend = stage.backend().start()
        self._watch = Watch(stage.sqlite_path, stage.postgres.dsn(DATABASE))
        self._watch.start()
        self._fit(backend)
        self._start_load(backend)
        time.sleep(BEFORE_S)
        for verb in ("preflight", "prepare", "backfill", "verify"):
            self._phase(verb)
        for verb, _ in SWITCHES:
            self._switch(verb)
        self._phase("verify")
        self._stop_load()
        self._judge()

    def _fit(self, backend: Backend) -> None:
        """Scale the profile down to what the machine carries, unless the caller has said otherwise."""
        if self._scale is None:
            signals = Signals(f"{self._marker}fit", self._stage.users, seed=self._profile.seed)
            ledger = Ledger(self._stage.base / "fit.jsonl")
            sender = Sender(signals, WEBHOOK_SECRET, ledger, target=backend.port, rate=1.0)
            carries = sender.carries(2.0)
            ledger.close()
            self._scale = min(1.0, SHARE * carries / (self._profile.peak * self._profile.copies))
            self._story.step(f"the file as it is carries {carries:.0f} webhooks/s here")
        self._profile = self._profile.scaled(self._scale)

    def _start_load(self, backend: Backend) -> None:
        self._began = time.time()
        self._spawn(
            "locust", "-f", str(REPO / "loadtests" / "locustfile.py"), "--headless", "--only-summary",
            "--host", backend.url, "--load", self._profile.name, "--scale", str(self._scale),
            "--seconds", str(self._max_seconds),
            "--prefix", self._marker, "--senders", ",".join(self._stage.users), "--secret", WEBHOOK_SECRET,
            "--admin", ":".join(ADMIN), ledger="locust",
        )  # fmt: skip
        if self._profile.background:
            self._spawn(
                "loadtests.background", "--seconds", str(self._max_seconds), "--prefix", self._marker,
                "--seed", str(self._profile.seed), ledger="background",
            )  # fmt: skip
        self._story.step(f"{self._profile.name}, at most {self._profile.peak} users: {self._profile.why}")

    def _spawn(self, module: str, *options: str, ledger: str) -> None:
        path = self._stage.base / f"{ledger}.jsonl"
        path.touch()
        self._ledgers.append(path)
        with (self._stage.base / f"{ledger}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, *options, "--ledger", str(path)],
                    cwd=self._stage.base,
                    env=python_env(self._stage.env()),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _phase(self, verb: str) -> Result:
        begin = time.time()
        for _ in range(4):
            result = self._stage.migrate().run(verb)
            if result.exit in ((0, 1) if verb == "preflight" else (0,)):
                break
            self._story.bad(f"st-migrate {verb} exited {result.exit}: {result.errors.strip()[-400:]}")
            if result.exit != 3:
                raise Broken(f"st-migrate {verb}: {result.message}")
        else:
            raise Broken(f"st-migrate {verb} did not succeed: {result.message}")
        self.outcome.marks.append(Mark(verb, begin - self._began, time.time() - self._began))
        self._story.step(f"st-migrate {verb}: {result.message}  ({result.seconds:.1f} s)")
        return result

    def _switch(self, verb: str) -> None:
        """At the next rise to the peak."""
        time.sleep(self._profile.until_peak(time.time() - self._began))
        begin = time.time()
        result = self._phase(verb)
        end, reported = time.time(), float(result.data.get("pause_ms") or 0.0)
        time.sleep(2 * EVERY_S)
        moment = self._watch.began(int(result.data.get("epoch", 0))) if self._watch else None
        if moment is not None:
            begin, end = max(begin, moment - reported / 1000 - EVERY_S), moment
        self.outcome.switches.append(Switch(verb, begin, end, reported))
        self.outcome.marks.append(Mark("", begin - self._began, end - self._began, strong=True))

    def _stop_load(self) -> None:
        for process in self._processes:
            if process.poll() is not None and process is self._processes[0]:
                self.outcome.problems.append("the load ended before the phases did; raise --max-seconds")
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                kill_group(process)

    def _judge(self) -> None:
        assert self._watch
        deadline = time.monotonic() + STOP_S
        seen = len(self._watch.samples)
        while time.monotonic() < deadline:
            if any(sample.lag_changes == 0 for sample in self._watch.samples[seen:]):
                break
            time.sleep(0.05)
        self._watch.stop()
        self._phase("verify")
        entries = read_ledgers(self._ledgers)
        verdict = judge(self._marker, entries, self._stage.sides())
        deliveries = [entry for entry in entries if isinstance(entry, Delivery)]
        for switch in self.outcome.switches:
            seen_by_senders = pause(deliveries, switch.begin, switch.end)
            switch.gap_ms, switch.slowest_ms = seen_by_senders.gap, seen_by_senders.wait
        self._hold_to_bounds(verdict, deliveries)

    def _hold_to_bounds(self, verdict: Verdict, deliveries: list[Delivery]) -> None:
        assert self._watch
        bounds, problems = self._profile.bounds, self.outcome.problems
        calm = [delivery for delivery in deliveries if not self._in_switch(delivery)]
        times = latency(calm, self._began, time.time())
        changes, lag = self._watch.highest_lag(phase="replicating")
        problems += [f"{f.kind} on {f.side}: {f.what}: {f.detail}" for f in verdict.findings[:20]]
        if verdict.acknowledged == 0:
            problems.append("nothing was acknowledged")
        if (verdict.failed + verdict.unknown) > bounds.unanswered * verdict.deliveries:
            problems.append(f"{verdict.failed} failed and {verdict.unknown} unanswered deliveries")
        if times.p99 > bounds.p99_ms:
            problems.append(f"p99 outside of switches {times.p99:.0f} ms, bound {bounds.p99_ms:.0f} ms")
        if lag > bounds.lag_s:
            problems.append(f"highest lag {lag:.1f} s, bound {bounds.lag_s:g} s")
        for switch in self.outcome.switches:
            if switch.reported_ms > bounds.pause_ms:
                problems.append(
                    f"{switch.name} paused {switch.reported_ms:.0f} ms, bound {bounds.pause_ms:g} ms"
                )
        counts = {k: v for k, v in vars(verdict).items() if k != "findings"}
        self.outcome.figures = {
            "profile": self._profile.name,
            "seed": self._profile.seed,
            "scale": self._scale,
            "deliveries": counts | {"findings": len(verdict.findings)},
            "answer_ms": {"p50": times.p50, "p99": times.p99, "worst": times.worst},
            "highest_lag": {"changes": changes, "ms": lag * 1000},
            "switch": {
                f"{number}. {switch.name}": {
                    name: value for name, value in asdict(switch).items() if name.endswith("_ms")
                }
                for number, switch in enumerate(self.outcome.switches, start=1)
            },
        }

    def _in_switch(self, delivery: Delivery) -> bool:
        return any(
            switch.begin <= attempt.at + attempt.ms / 1000 and attempt.at <= switch.end
            for switch in self.outcome.switches
            for attempt in delivery.attempts
        )

    def report(self) -> str:
        """The run as one HTML file."""
        deliveries = [entry for entry in read_ledgers(self._ledgers) if isinstance(entry, Delivery)]
        samples = self._watch.samples if self._watch else []
        drawings = charts(deliveries, samples, self.outcome.marks, self._began) if deliveries else []
        title = f"Cutover under load: {self._profile.name}"
        rows = flat(self.outcome.figures)
        return page(title, self._profile.why, self.outcome.problems, rows, drawings)

    def stop(self) -> None:
        """End everything that this run started."""
        for process in self._processes:
            if process.poll() is None:
                kill_group(process)
        if self._watch:
            self._watch.stop()


def main(argv: list[str] | None = None) -> int:
    """Run one profile; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--profile", choices=list(PROFILES), default="steady")
    parser.add_argument("--scale", type=float, help="so many times the users (default: what is carried)")
    parser.add_argument("--max-seconds", type=float, default=240.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--report", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    story = Story()
    with Stage() as stage:
        run = UnderLoad(stage, PROFILES[options.profile], story, options.max_seconds, options.scale)
        try:
            run.play()
        except Broken as broken:
            run.outcome.problems.append(str(broken))
        except KeyboardInterrupt:
            return 130
        finally:
            run.stop()
        return _tell(run, story, options)


def _tell(run: UnderLoad, story: Story, options: argparse.Namespace) -> int:
    problems = run.outcome.problems
    story.table(flat(run.outcome.figures))
    for problem in problems:
        story.bad(problem)
    if options.json:
        figures = run.outcome.figures | {"problems": problems}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.report:
        options.report.write_text(run.report(), encoding="utf-8")
        story.step(f"report: {options.report}")
    if not problems:
        story.good("every bound held; nothing was lost, doubled or altered")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
