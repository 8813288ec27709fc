"""One run: every phase of a move while a locust profile runs, and what it has shown.

The profile's cycle begins at a moment that this process sets, so that it knows where the peaks are. Each
switch is called so much before a peak as its command took to get to the switch the last time.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from app.db.settings import ShimSettings
from loadtests.judge.bounds import Measured, checks
from loadtests.judge.figures import Latency, latency, pause, percentile
from loadtests.judge.oracle import Verdict, judge
from loadtests.judge.outcome import Outcome, Switch
from loadtests.judge.watch import EVERY_S, Watch
from loadtests.run.senders import Senders
from loadtests.show.lines import Story
from loadtests.show.svg import Mark
from loadtests.stage.processes import Backend, Broken, Result
from loadtests.stage.stage import DATABASE, WEBHOOK_SECRET, Stage
from loadtests.traffic.ledger import Delivery, Ledger, read_ledgers
from loadtests.traffic.payloads import Signals
from loadtests.traffic.profiles import PROFILES, Profile
from loadtests.traffic.sender import Sender

LOCUST_S = 3.0  # until locust is up
BEFORE_S = 2.0  # of load before the first command
COMMAND_S = 1.5  # from the call of a switch to the switch itself, before this is known
FIT_S = 1.5
STOP_S = 40.0
SHARE = 0.7  # of what the machine carries that the peak may ask for
DUAL_WRITE = str(ShimSettings.model_fields["dual_write"].default)
SWITCHES = ("cutover", "rollback", "cutover")


class UnderLoad:
    """One run of one profile.

    Args:
        stage: not set up yet.
        profile: the load.
        story: where it is told.
        max_seconds: the load never lasts longer.
        scale: so many times the profile's users; None: as many as the machine carries, at most all.
        dual_write: ST_DUAL_WRITE of the backend and of the background writer.
    """

    def __init__(
        self,
        stage: Stage,
        profile: Profile,
        story: Story,
        max_seconds: float,
        *,
        scale: float | None = None,
        dual_write: str = DUAL_WRITE,
    ) -> None:
        self.outcome = Outcome()
        self.profile = profile
        self.began = 0.0
        self.watch: Watch | None = None
        self._stage = stage
        self._story = story
        self._max_seconds = max_seconds
        self._scale = scale
        self._env = {"ST_DUAL_WRITE": dual_write}
        self._marker = stage.marker_prefix()
        self._senders = Senders(stage, self._marker, self._env)
        self._lead_s = COMMAND_S

    def play(self) -> None:
        """All phases under load, then the verdict; Broken when a command fails."""
        stage = self._stage
        stage.set_up()
        backend = stage.backend(stage.env(**self._env)).start()
        self.watch = Watch(stage.sqlite_path, stage.postgres.dsn(DATABASE))
        self.watch.start()
        self._fit(backend)
        self._start_load(backend)
        time.sleep(max(0.0, self.began + BEFORE_S - time.time()))
        for verb in ("preflight", "prepare", "backfill", "verify"):
            self._phase(verb)
        for verb in SWITCHES:
            self._switch(verb)
        self._phase("verify")
        self._senders.stop()
        self._judge()

    def _fit(self, backend: Backend) -> None:
        """Scale the profile down to what the machine carries, unless the caller has said otherwise."""
        if self._scale is None:
            signals = Signals(f"{self._marker}fit", self._stage.users, seed=self.profile.seed)
            ledger = Ledger(self._stage.base / "fit.jsonl")
            sender = Sender(signals, WEBHOOK_SECRET, ledger, target=backend.port, rate=1.0)
            carries = sender.carries(FIT_S)
            ledger.close()
            peak = self.profile.peak * self.profile.copies
            self._scale = round(min(1.0, SHARE * carries / peak), 3)
            self._story.step(f"the file as it is carries {carries:.0f} webhooks/s here")
        self.profile = self.profile.scaled(self._scale)

    def _start_load(self, backend: Backend) -> None:
        self.began = time.time() + LOCUST_S
        # The senders scale the profile themselves.
        self._senders.start(
            backend.url, PROFILES[self.profile.name], self._scale or 1.0, self.began, self._max_seconds
        )
        self._story.step(f"{self.profile.name}, at most {self.profile.peak} users: {self.profile.why}")

    def _phase(self, verb: str) -> Result:
        begin = time.time()
        for _ in range(4):
            result = self._stage.migrate().run(verb)
            if result.exit in ((0, 1) if verb == "preflight" else (0,)):
                break
            self._story.bad(f"st-migrate {verb} exited {result.exit}: {result.errors.strip()[-400:]}")
            if result.exit != 3:
                raise Broken(f"st-migrate {verb}: {result.message}")
            self.outcome.problems.append(f"st-migrate {verb} had to be repeated: {result.message}")
        else:
            raise Broken(f"st-migrate {verb} did not succeed: {result.message}")
        self.outcome.marks.append(Mark(verb, begin - self.began, time.time() - self.began))
        self._story.step(f"st-migrate {verb}: {result.message}  ({result.seconds:.1f} s)")
        return result

    def _switch(self, verb: str) -> None:
        """In the middle of the next peak, or soon after its begin if it is long."""
        aim = min(self.profile.peak_s / 2, 1.5)
        time.sleep(self.profile.until_peak(time.time() - self.began + self._lead_s - aim))
        begin = time.time()
        result = self._phase(verb)
        end, reported = time.time(), float(result.data.get("pause_ms") or 0.0)
        command = (begin, end)
        time.sleep(5 * EVERY_S)
        moment = self.watch.began(int(result.data.get("epoch", 0))) if self.watch else None
        if moment is not None:
            self._lead_s = moment - begin
            begin, end = max(begin, moment - reported / 1000 - EVERY_S), moment
        self.outcome.switches.append(Switch(verb, begin, end, command, reported))
        number = len(self.outcome.switches)
        name = f"switch {number}: {reported:.0f} ms"
        self.outcome.marks.append(Mark(name, begin - self.began, end - self.began, strong=True))

    def _judge(self) -> None:
        assert self.watch
        deadline = time.monotonic() + STOP_S
        seen = len(self.watch.samples)
        while time.monotonic() < deadline:
            if any(sample.lag_changes == 0 for sample in self.watch.samples[seen:]):
                break
            time.sleep(0.05)
        self.watch.stop()
        self._phase("verify")
        entries = read_ledgers(self._senders.ledgers)
        verdict = judge(self._marker, entries, self._stage.sides())
        deliveries = [entry for entry in entries if isinstance(entry, Delivery)]
        self.outcome.deliveries = deliveries
        for switch in self.outcome.switches:
            seen_by_senders = pause(deliveries, switch.begin, switch.end)
            switch.gap_ms, switch.slowest_ms = seen_by_senders.gap, seen_by_senders.wait
        self._hold_to_bounds(verdict, deliveries)

    def _hold_to_bounds(self, verdict: Verdict, deliveries: list[Delivery]) -> None:
        assert self.watch
        calm = [delivery for delivery in deliveries if not self._in_switch(delivery)]
        times = latency(calm, self.began, time.time())
        pauses = [
            (f"{number}, {switch.name}", switch.reported_ms)
            for number, switch in enumerate(self.outcome.switches, start=1)
        ]
        commands = [switch.command for switch in self.outcome.switches]
        lags, near = self.watch.lags(outside=commands), self.watch.lags(inside=commands)
        counts = self._senders.counts()
        measured = Measured(verdict, times.p99, pauses, lags, near, counts["failed"])
        problems = self.outcome.problems
        problems += [f"{f.kind} on {f.side}: {f.what}: {f.detail}" for f in verdict.findings[:20]]
        problems += counts["errors"][:10]
        if verdict.acknowledged == 0:
            problems.append("nothing was acknowledged")
        self.outcome.checks = list(checks(self.profile.bounds, measured))
        self.outcome.figures = self._figures(verdict, times, lags, near, counts["requests"])

    def _figures(
        self, verdict: Verdict, times: Latency, lags: list[float], near: list[float], requests: int
    ) -> dict[str, Any]:
        assert self.watch
        looks = len(self.watch.samples)
        changes, _ = self.watch.highest_lag(phase="replicating")
        switches = [
            {"name": s.name, "reported_ms": s.reported_ms, "gap_ms": s.gap_ms, "slowest_ms": s.slowest_ms}
            for s in self.outcome.switches
        ]
        counts = {name: value for name, value in asdict(verdict).items() if name != "findings"}
        return {
            "profile": self.profile.name,
            "seed": self.profile.seed,
            "scale": self._scale,
            "peak_users": self.profile.peak,
            "dual_write": self._env["ST_DUAL_WRITE"],
            "load_seconds": round(time.time() - self.began, 1),
            "requests": requests,
            "deliveries": counts | {"findings": len(verdict.findings)},
            "answer_ms": {"p50": times.p50, "p99": times.p99, "worst": times.worst},
            "lag_ms": {
                "p50": percentile(lags, 0.5) * 1000,
                "p99": percentile(lags, 0.99) * 1000,
                "highest": max(lags, default=0.0) * 1000,
                "highest_during_commands": max(near, default=0.0) * 1000,
                "looks": looks,
                "processor_ms_per_look": self.watch.cpu_s * 1000 / max(looks, 1),
            },
            "highest_lag_changes": changes,
            "switch": {f"{n}. {s.pop('name')}": s for n, s in enumerate(switches, start=1)},
        }

    def _in_switch(self, delivery: Delivery) -> bool:
        return any(
            switch.begin <= attempt.at + attempt.ms / 1000 and attempt.at <= switch.end
            for switch in self.outcome.switches
            for attempt in delivery.attempts
        )

    def stop(self) -> None:
        """End everything that this run started."""
        self._senders.kill()
        if self.watch:
            self.watch.stop()
