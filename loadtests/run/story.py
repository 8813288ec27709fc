"""The story of a move, played once under traffic: the operator's own commands, the switches, the verdict.

Every command runs in a process of its own, and is repeated when it says (exit code 3) that it may be. What
differs between the demo and a load run is given from outside: the steps, the traffic and the chaos. After
the last step the traffic ends, the shadow catches up, verify compares both sides, and the oracle compares
every answer a sender was given with both databases.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from loadtests.judge.figures import pause
from loadtests.judge.oracle import judge
from loadtests.judge.outcome import Mark, Outcome, Switch
from loadtests.judge.sides import PostgresSide, SqliteSide
from loadtests.judge.watch import EVERY_S, Watch
from loadtests.run.chaos import Chaos, ChaosMigrate
from loadtests.run.traffic import Traffic
from loadtests.show.lines import Lines
from loadtests.stage.processes import Backend, Broken, Result, StMigrate, reported_pause
from loadtests.stage.stage import Stage
from loadtests.traffic.ledger import Delivery, read_ledgers

# A step is a verb of st-migrate, or this one: the new backend is up, and the primary moved, before the
# old one is told to go.
TURNED_URL = "turned URL, restart"
MOVES_TO = {"cutover": "postgres", "rollback": "sqlite"}
COPIED = ("preflight", "prepare", "backfill", "verify")
ACCEPTED = {"preflight": (0, 1), "verify": (0, 1)}  # exit codes; 0 alone for other commands
CALLS = 4  # of one command, the repeats among them
SETTLE_S = 30.0
LEAD_S = 1.5  # from the call of a switch to the switch itself, before this is known
UNREPORTED_MS = 1500.0  # what a pause is looked for in if nobody has reported it


class Story:
    """Plays the whole story once.

    Args:
        stage: a stage that is not set up yet.
        lines: where the story is told.
        traffic: what sends meanwhile.
        steps: verbs of st-migrate and TURNED_URL, in their order.
        env: ST_ variables of the backend, besides those of the stage.
        chaos: kills processes at random moments; None: nobody does.
    """

    def __init__(
        self,
        stage: Stage,
        lines: Lines,
        traffic: Traffic,
        *,
        steps: Sequence[str],
        env: Mapping[str, str] | None = None,
        chaos: Chaos | None = None,
    ) -> None:
        self.outcome = Outcome()
        self.backend: Backend | None = None
        self.watch: Watch | None = None
        self._stage = stage
        self._lines = lines
        self._traffic = traffic
        self._steps = steps
        self._env = dict(env or {})
        self._chaos = chaos
        self._lead_s = LEAD_S

    def play(self) -> None:
        """All steps; raises Broken when a process does not do what it has to."""
        self._begin()
        for step in self._steps:
            if step == TURNED_URL:
                self._switch_by_turned_url()
            elif step in MOVES_TO:
                self._switch(step)
            elif step == "verify":
                self._verify()
            else:
                self._command(step)
            self._traffic.after(step)
        self._finish()

    def _begin(self) -> None:
        stage = self._stage
        stage.set_up()
        size = stage.sqlite_path.stat().st_size / 1e6
        self._lines.step(
            f"PostgreSQL runs on port {stage.postgres.port}; the SQLite file has {size:.0f} MB ({stage.origin})"
        )
        self.backend = stage.backend(stage.env(**self._env)).start()
        self._lines.step(
            f"the backend serves on SQLite at {self.backend.url} with {self.backend.workers} workers"
        )
        self.watch = Watch(stage.sqlite_path, stage.postgres_dsn)
        self.watch.start()
        self._traffic.start(self.backend)
        self.outcome.deliveries = self._traffic.deliveries
        if self._chaos:
            self._chaos.watch_over(self.backend)
            self._chaos.start()

    def _verify(self) -> None:
        result = self._command("verify")
        found = int(result.data.get("mismatches", 0))
        self.outcome.mismatches += found
        if found or result.exit:
            self.outcome.problems.append(f"verify: {result.message}")

    def _switch(self, verb: str) -> None:
        self._traffic.before_switch(self._lead_s)
        called, begin = len(self.outcome.results), time.time()
        result = self._command(verb)
        told = [r.data.get("pause_ms") for r in self.outcome.results[called:]]
        reported = max((float(ms) for ms in told if ms is not None), default=None)
        epoch = int(result.data.get("epoch", 0))
        self._switched(verb, MOVES_TO[verb], epoch, begin, reported, result.seconds)

    def _switch_by_turned_url(self) -> None:
        assert self.backend
        begin, log = time.time(), self._stage.backend_log
        log_end = log.stat().st_size
        new = self._stage.backend(self._stage.env(primary="postgres", cutover="auto", **self._env))
        if self._chaos:
            self._chaos.start_roughly(new)
        else:
            new.start()
        seconds = time.time() - begin
        ready = new.ready() or {}  # asked before the chaos may kill the new backend
        self._traffic.turn_to(new)
        old, self.backend = self.backend, new
        if self._chaos:
            self._chaos.watch_over(new)
        old.stop()
        reported = reported_pause(log, log_end)
        self._switched(TURNED_URL, "postgres", int(ready.get("epoch") or 0), begin, reported, seconds)
        if ready.get("primary") != "postgres":
            self.outcome.problems.append(f"after the restart the primary is {ready.get('primary')}")

    def _switched(
        self, name: str, primary: str, epoch: int, begin: float, reported: float | None, seconds: float
    ) -> None:
        """Find the moment of a switch that a command or a restart, begun at `begin`, has brought about."""
        assert self.watch
        end = time.time()
        command = (begin, end)
        time.sleep(self._traffic.look_s)
        moment = self.watch.began(epoch)
        if moment is not None:
            self._lead_s = moment - begin
            begin, end = max(begin, moment - (reported or UNREPORTED_MS) / 1000 - EVERY_S), moment
        switch = Switch(name, primary, begin, end, command, seconds, reported)
        self.outcome.switches.append(switch)
        number = len(self.outcome.switches)
        self.outcome.marks.append(Mark(f"switch {number}: {reported or 0:.0f} ms", begin, end, strong=True))
        if self._traffic.deliveries:
            switch.seen = pause(self._traffic.deliveries, begin, end)
            told = f"{reported:.0f} ms reported, " if reported is not None else ""
            self._lines.good(
                f"{primary} is primary: writers paused {told}{switch.seen.gap:.0f} ms between two acknowledged "
                f"webhooks, {switch.seen.wait:.0f} ms the slowest answer"
            )

    def _finish(self) -> None:
        assert self.watch
        if self._chaos:
            self._chaos.stop()
        self._traffic.stop()
        self._settle(self.watch)
        self.watch.stop()
        self._verify()
        outcome, entries = self.outcome, read_ledgers(self._traffic.ledgers)
        sides = SqliteSide(self._stage.sqlite_path), PostgresSide(self._stage.postgres_dsn)
        outcome.verdict = judge(self._traffic.marker, entries, sides)
        outcome.deliveries = [entry for entry in entries if isinstance(entry, Delivery)]
        for switch in outcome.switches:
            switch.seen = switch.seen or pause(outcome.deliveries, switch.begin, switch.end)
        outcome.judged = True
        self._lines.step(
            f"the oracle compared {outcome.verdict.deliveries} deliveries with both databases: "
            f"{len(outcome.verdict.findings)} findings"
        )

    def _settle(self, watch: Watch) -> None:
        """Wait until the shadow has everything."""
        deadline, seen = time.monotonic() + SETTLE_S, len(watch.samples)
        while time.monotonic() < deadline:
            fresh = watch.samples[seen:]
            if fresh and fresh[-1].lag_changes == 0:
                return
            time.sleep(0.05)
        self.outcome.problems.append(f"the shadow was still behind {SETTLE_S:.0f} s after the last webhook")

    def _command(self, verb: str) -> Result:
        """Call one command as an operator does: exit code 3 means that it may be repeated."""
        migrate: StMigrate = self._stage.migrate()
        if self._chaos:
            migrate = ChaosMigrate(migrate, self._chaos)
        begin = time.time()
        for call in range(1, CALLS + 1):
            result = migrate.run(verb)
            self.outcome.results.append(result)
            if result.exit in ACCEPTED.get(verb, (0,)):
                break
            self._lines.bad(f"st-migrate {verb} exited {result.exit}: {result.errors.strip()[-600:]}")
            if call == CALLS or (result.exit != 3 and not self._chaos):
                raise Broken(f"st-migrate {verb} exited {result.exit}: {result.message}")
            self.outcome.repeated.append(f"st-migrate {verb} had to be repeated: {result.message}")
            time.sleep(1.0)
        self.outcome.marks.append(Mark(verb, begin, time.time()))
        told = result.message or f"{len(result.data.get('findings', []))} findings"
        counted = f"; {self._traffic.counted()}" if self._traffic.counted() else ""
        self._lines.step(f"st-migrate {verb}: {told}  ({result.seconds:.1f} s{counted})")
        return result

    def stop(self) -> None:
        """End the threads and the traffic, whatever state they are in."""
        if self._chaos:
            self._chaos.stop()
        self._traffic.kill()
        if self.watch:
            self.watch.stop()
