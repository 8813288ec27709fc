"""The clients of a history: threads that make transactions with unique values, and write down what they were told.

Kinds: `insert` a parent with its child, `delete` a pair inserted before, `append` a token to a shared
list, `transfer` between accounts with a record of it, `count` up by one without any record, `undone` which
is rolled back by the client. Runs as a process of its own, so that it can be killed.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.core.random.history.databases import Database, Raw, Sessions, Statements
from tests.core.random.history.ledger import Ledger, Op, Outcome

ACCOUNTS, COUNTERS, LISTS = 4, 2, 6
PAUSE_S = (0.005, 0.06)

_ALERT = "INSERT INTO alerts (symbol, action, qty, raw_payload) VALUES ('HIST', 'BUY', :n, :token)"
_ORDER = (
    "INSERT INTO orders (alert_id, symbol, side, qty, client_order_id) "
    "SELECT id, 'HIST', 'BUY', :n, :token FROM alerts WHERE raw_payload = :token"
)
_NO_ORDER = "DELETE FROM orders WHERE client_order_id = :token"
_NO_ALERT = "DELETE FROM alerts WHERE raw_payload = :token"
_APPEND = (
    "UPDATE system_events SET details = details || :token || ',' WHERE category = 'list' AND message = :list"
)
_ADD = "UPDATE positions SET qty = qty + :n WHERE symbol = :account"
_RECORD = (
    "INSERT INTO system_events (level, category, message, details) VALUES ('INFO', 'transfer', :token, :what)"
)


@dataclass
class Client:
    """One thread's client; its operations follow one another."""

    name: str
    database: Database
    ledger: Ledger
    draw: random.Random
    mine: list[str] = field(default_factory=list)
    done: int = 0

    def step(self) -> None:
        """One operation."""
        self.done += 1
        kinds: list[Callable[[str], tuple[Op, Statements]]] = [
            self._insert, self._insert, self._delete, self._append, self._append, self._transfer, self._count,
            self._undone,
        ]  # fmt: skip
        op, statements = self.draw.choice(kinds)(f"{self.name}.{self.done:06d}")
        self.ledger.begin(op)
        op.outcome = self.database.run(statements, give_up=op.kind == "undone")
        self.ledger.end(op)
        if op.kind == "insert" and op.outcome is Outcome.OK:
            self.mine.append(op.token)

    def _op(self, kind: str, token: str, **what: object) -> Op:
        return Op(kind, token, self.name, what)

    def _insert(self, token: str) -> tuple[Op, Statements]:
        values = {"token": token, "n": self.done / 8}
        return self._op("insert", token, n=self.done / 8), [(_ALERT, values), (_ORDER, values)]

    def _undone(self, token: str) -> tuple[Op, Statements]:
        return self._op("undone", token), self._insert(token)[1]

    def _delete(self, token: str) -> tuple[Op, Statements]:
        if not self.mine:
            return self._insert(token)
        victim = self.mine.pop(self.draw.randrange(len(self.mine)))
        values = {"token": victim}
        return self._op("delete", token, of=victim), [(_NO_ORDER, values), (_NO_ALERT, values)]

    def _append(self, token: str) -> tuple[Op, Statements]:
        name = f"L{self.draw.randrange(LISTS)}"
        return self._op("append", token, list=name), [(_APPEND, {"token": token, "list": name})]

    def _transfer(self, token: str) -> tuple[Op, Statements]:
        first, second = sorted(self.draw.sample(range(ACCOUNTS), 2))
        n = self.draw.choice((-1, 1)) * self.draw.randint(1, 9)
        statements = [
            (_ADD, {"n": n, "account": f"ACC{first}"}),
            (_ADD, {"n": -n, "account": f"ACC{second}"}),
            (_RECORD, {"token": token, "what": f"{first},{second},{n}"}),
        ]
        return self._op("transfer", token), statements

    def _count(self, token: str) -> tuple[Op, Statements]:
        name = f"CTR{self.draw.randrange(COUNTERS)}"
        return self._op("count", token, counter=name), [(_ADD, {"n": 1, "account": name})]


def run(name: str, ledger_path: str, sqlite: str, postgres: str, seed: int, sessions: int, raw: int) -> None:
    """Be the clients until SIGTERM; settings come from the environment."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    ledger = Ledger(Path(ledger_path))
    ways: list[Database] = [Sessions() for _ in range(sessions)]
    ways += [Raw(sqlite, postgres) for _ in range(raw)]
    threads = [
        threading.Thread(
            target=_go,
            args=(Client(f"{name}.{n}", way, ledger, random.Random(seed * 100 + n)), stopping),
            daemon=True,
        )
        for n, way in enumerate(ways)
    ]
    for thread in threads:
        thread.start()
    while not stopping.wait(0.5) and os.getppid() != 1:
        pass
    stopping.set()
    for thread in threads:
        thread.join(timeout=30)


def _go(client: Client, stopping: threading.Event) -> None:
    while not stopping.wait(client.draw.uniform(*PAUSE_S)):
        client.step()
