"""The steps of the drill, in their order; see `loadtests.run.drill.__main__`."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import psycopg

from loadtests.judge.figures import latency
from loadtests.judge.oracle import judge
from loadtests.judge.sides import PostgresSide
from loadtests.run.drill.contents import Contents, contents, differences, rows, sequences
from loadtests.run.drill.debian import DEPLOY, DebianServer, Repository
from loadtests.show.lines import Lines
from loadtests.stage.processes import WEBHOOK_SECRET, Backend, Broken
from loadtests.stage.stage import DATABASE, Stage
from loadtests.traffic.ledger import Delivery, Ledger, Outcome, read_ledgers
from loadtests.traffic.sender import Sender
from loadtests.traffic.signals import Signals, fresh_run

LOST = "alerts"  # the table that is dropped: every delivery needs it
AFTER = 20  # deliveries that are acknowledged between the noted moment and the loss
LIMIT_S = 60.0


class Drill:
    """One drill. `figures`: what was measured; `problems`: what must not be.

    Args:
        lines: where it is told.
        rate: webhooks per second.
        seed: of the database and the payloads.
    """

    def __init__(self, lines: Lines, *, rate: float, seed: int) -> None:
        self.figures: dict[str, Any] = {}
        self.problems: list[str] = []
        self._lines, self._rate, self._seed = lines, rate, seed
        self._open = ExitStack()
        self._stage = self._open.enter_context(Stage(seed=seed, postgres=self._server))
        self._stage.base.chmod(0o755)  # the server's own user passes through

    def _server(self, base: Path) -> DebianServer:
        base.chmod(0o755)
        self._repository = Repository(base / "backups")
        server = DebianServer(base / "server", self._repository.env, archiving=True)
        self._repository.configure(server)
        return server

    def play(self) -> None:
        """All steps; raises Broken when a program does not do what it has to."""
        backend = self._set_up()
        before = self._backups(backend)
        moment, expected, numbers = self._note()
        after = self._lose_a_table(backend)
        restored = self._restore(moment)
        self._compare(restored, expected, numbers)
        self._judge(restored, before, after)
        self._dump(restored, expected)
        self._serve(restored)

    def _set_up(self) -> Backend:
        stage = self._stage
        stage.set_up()
        migrate = stage.migrate()
        for verb, options in (("run", ["--cutover"]), ("complete", ["--yes"])):
            done = migrate.run(verb, *options)
            if done.exit:
                raise Broken(f"st-migrate {verb}: {done.message}")
        self._repository.call("stanza-create")
        self._repository.call("check")
        self._lines.step(
            "the backend's database is on Debian's PostgreSQL, and its log is archived, encrypted"
        )
        return stage.backend(self._alone(stage.postgres_url)).start()

    def _alone(self, url: str) -> dict[str, str]:
        return self._stage.env(primary="postgres") | {"ST_DATABASE_URL": url, "ST_SHADOW_DATABASE_URL": ""}

    def _sender(self, backend: Backend, name: str) -> tuple[Sender, str, Path]:
        marker, path = fresh_run() + name, self._stage.base / f"{name}.jsonl"
        signals = Signals(marker, self._stage.users, seed=self._seed)
        return (
            Sender(signals, WEBHOOK_SECRET, Ledger(path), target=backend.port, rate=self._rate),
            marker,
            path,
        )

    def _backups(self, backend: Backend) -> tuple[str, Path]:
        sender, marker, path = self._sender(backend, "before")
        sender.start()
        self._wait("deliveries are acknowledged", lambda: _acknowledged(sender) >= AFTER)
        for kind in ("full", "incr"):
            began, wall = time.monotonic(), time.time()
            self._repository.call(f"--type={kind}", "backup")
            self.figures[f"{kind} backup, s"] = round(time.monotonic() - began, 2)
            answers = latency(sender.deliveries, wall, time.time())
            self.figures[f"answers meanwhile ({kind}), median / p99, ms"] = (
                f"{answers.p50:.0f} / {answers.p99:.0f}"
            )
            more = _acknowledged(sender) + AFTER  # what only the log has
            self._wait("deliveries go on", lambda more=more: _acknowledged(sender) >= more)
            self._lines.step(
                f"a backup of type {kind} is taken while {_acknowledged(sender)} webhooks arrive"
            )
        sender.stop()
        self._check_status()
        return marker, path

    def _check_status(self) -> None:
        """The repository as the keeper shows it to Prometheus, and that nothing in it can be read."""
        done = subprocess.run(
            [sys.executable, "-c", "import keeper; print(keeper.text(keeper.info()))"],
            env=self._repository.env | {"PYTHONPATH": str(DEPLOY / "backup"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        shown = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line and line[0] != "#")
        now = time.time()
        for kind in ("full", "incr"):
            age = now - float(shown.get(f'st_backup_finished_seconds{{type="{kind}"}}', 0))
            if not -1 <= age < LIMIT_S * 5:
                self.problems.append(
                    f"the keeper shows a {kind} backup that is {age:.0f} s old: {done.stderr}"
                )
        if float(shown.get("st_backup_readable", 0)) != 1:
            self.problems.append(
                f"the keeper says that the repository is not in order: {done.stdout}{done.stderr}"
            )
        if self._repository.in_plain_text(LOST):
            self.problems.append("the repository can be read without its pass")

    def _note(self) -> tuple[str, Contents, dict[str, int]]:
        """The moment to come back to, and all that the database holds then."""
        dsn = self._stage.postgres_dsn
        expected, numbers = contents(dsn), sequences(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute("SELECT clock_timestamp()::text").fetchone()
        assert row
        if differences(expected, contents(dsn)):
            raise Broken("somebody writes while the moment is noted")
        self._lines.step(f"the moment is {row[0]}: {rows(expected)} rows")
        return str(row[0]), expected, numbers

    def _lose_a_table(self, backend: Backend) -> tuple[str, Path]:
        sender, marker, path = self._sender(backend, "after")
        sender.start()
        self._wait("deliveries go on", lambda: _acknowledged(sender) >= AFTER)
        with psycopg.connect(self._stage.postgres_dsn, autocommit=True) as connection:
            connection.execute(f"DROP TABLE {LOST} CASCADE")
            self._wait(
                "the backend notices",
                lambda: any(d.outcome is not Outcome.ACKNOWLEDGED for d in sender.deliveries),
            )
            sender.stop()
            backend.stop()
            row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
            assert row
            self._wait(
                "the log is archived",
                lambda: (
                    (connection.execute("SELECT last_archived_wal FROM pg_stat_archiver").fetchone() or [""])[
                        0
                    ]
                    >= row[0]
                ),
            )
        self._lines.bad(f"the table {LOST} is gone")
        return marker, path

    def _restore(self, moment: str) -> DebianServer:
        began = time.monotonic()
        server = DebianServer(self._stage.base / "restored", self._repository.env, archiving=False)
        self._open.callback(server.close)
        self._repository.call(
            "--type=time", f"--target={moment}", "--target-action=promote", "--archive-mode=off",
            f"--pg1-path={server.data}", "restore",
        )  # fmt: skip
        self.figures["restore of the files, s"] = round(time.monotonic() - began, 2)
        server.start()
        server.wait_promoted()
        self.figures["restore until the server answers, s"] = round(time.monotonic() - began, 2)
        self._lines.step("a fresh server has the database of that moment")
        return server

    def _compare(self, server: DebianServer, expected: Contents, numbers: dict[str, int]) -> None:
        found = differences(expected, contents(server.dsn(DATABASE)))
        self.figures["rows compared"] = rows(expected)
        self.figures["rows different"] = sum(found.values())
        if found:
            self.problems.append(f"rows differ after the restore: {found}")
        now = sequences(server.dsn(DATABASE))
        if behind := [name for name, value in numbers.items() if now.get(name, -1) < value]:
            self.problems.append(f"sequences give numbers out again: {behind}")

    def _judge(self, server: DebianServer, before: tuple[str, Path], after: tuple[str, Path]) -> None:
        side = PostgresSide(server.dsn(DATABASE))
        verdict = judge(before[0], read_ledgers([before[1]]), [side])
        self.figures["webhooks acknowledged before the moment"] = verdict.acknowledged
        for kind in ("lost", "doubled", "different"):
            self.figures[f"webhooks {kind}"] = verdict.count(kind)
        self.problems += [f"{f.kind}: {f.what}: {f.detail}" for f in verdict.findings[:5]]
        if not verdict.acknowledged:
            self.problems.append("nothing was acknowledged")
        later = [entry for entry in read_ledgers([after[1]]) if isinstance(entry, Delivery)]
        self.figures["webhooks acknowledged after it"] = sum(d.outcome is Outcome.ACKNOWLEDGED for d in later)
        pattern = f'%"order_id":"{after[0]}-%'
        there = side.select("SELECT count(*) AS n FROM alerts WHERE raw_payload LIKE ?", (pattern,))[0]["n"]
        if there:
            self.problems.append(f"{there} webhooks are there that came after the moment")
        side.close()

    def _dump(self, server: DebianServer, expected: Contents) -> None:
        """The way for small databases: one file, into a database of its own."""
        began, file = time.monotonic(), server.base / "sigma.dump"
        server.program("pg_dump", "--format=custom", "--compress=1", f"--file={file}", DATABASE)
        server.create_database("from_dump")
        server.program("pg_restore", "--exit-on-error", "--jobs=2", "--dbname=from_dump", str(file))
        self.figures["pg_dump and pg_restore, s"] = round(time.monotonic() - began, 2)
        if found := differences(expected, contents(server.dsn("from_dump"))):
            self.problems.append(f"rows differ after pg_restore: {found}")
        self._lines.step("pg_dump and pg_restore bring the same rows")

    def _serve(self, server: DebianServer) -> None:
        backend = self._stage.backend(self._alone(server.url(DATABASE))).start()
        sender, _, _ = self._sender(backend, "again")
        sender.carries(1.0, clients=2)
        answers = [delivery.outcome for delivery in sender.deliveries]
        self.figures["webhooks acknowledged on the restored server"] = answers.count(Outcome.ACKNOWLEDGED)
        if (
            not answers
            or {Outcome.FAILED, Outcome.UNKNOWN} & set(answers)
            or Outcome.ACKNOWLEDGED not in answers
        ):
            self.problems.append(f"the backend does not work on the restored server: {answers[:10]}")

    def _wait(self, what: str, holds: Any) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not holds():
            if time.monotonic() > deadline:
                raise Broken(f"not within {LIMIT_S:.0f} s: {what}")
            time.sleep(0.02)

    def close(self) -> None:
        """End everything."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _acknowledged(sender: Sender) -> int:
    return sum(delivery.outcome is Outcome.ACKNOWLEDGED for delivery in list(sender.deliveries))
