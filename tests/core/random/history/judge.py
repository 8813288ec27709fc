"""The judge of a history: compares what the clients were told with what each side holds.

Acknowledged effects are there exactly once, refused ones not at all, the others not more than once, and
never by half. It reads with plain drivers and knows nothing of the session layer.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.core.random.history.clients import ACCOUNTS
from tests.core.random.history.ledger import Op, Outcome

START = 1000.0  # what each account holds in the beginning
_MAY = {Outcome.OK: (1, 1), Outcome.REFUSED: (0, 0), Outcome.UNKNOWN: (0, 1)}
QUERIES = {
    "alerts": "SELECT id, raw_payload, qty FROM alerts WHERE symbol = 'HIST' ORDER BY id",
    "orders": "SELECT id, alert_id, client_order_id, qty FROM orders WHERE symbol = 'HIST' ORDER BY id",
    "positions": "SELECT symbol, qty FROM positions ORDER BY id",
    "transfers": "SELECT id, message, details FROM system_events WHERE category = 'transfer' ORDER BY id",
    "lists": "SELECT message, details FROM system_events WHERE category = 'list' ORDER BY id",
}
State = dict[str, list[tuple[Any, ...]]]


@dataclass
class Verdict:
    """`findings`: what must not be; `counts`: operations by outcome."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def read_sqlite(path: str) -> State:
    """The tables of the history, as one state of the file."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        connection.execute("BEGIN")
        return {name: connection.execute(query).fetchall() for name, query in QUERIES.items()}


def read_postgres(dsn: str) -> State:
    """The same of PostgreSQL."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return {name: connection.execute(query.encode()).fetchall() for name, query in QUERIES.items()}


def judge(ops: Sequence[Op], sides: dict[str, State]) -> Verdict:
    """Compare; `sides` by name, their writers have stopped."""
    verdict = Verdict(Counter(str(op.outcome) for op in ops))
    for name, state in sides.items():
        found = [*_inserts(ops, state), *_transfers(ops, state), *_lists(ops, state), *_counts(ops, state)]
        verdict.findings += [f"{name}: {finding}" for finding in found]
    first, *others = sides.values()
    for other in others:
        verdict.findings += [f"{table} differs" for table in QUERIES if first[table] != other[table]]
    return verdict


def _amount(what: str, op: Op, found: int) -> list[str]:
    least, most = _MAY[op.outcome]
    if least <= found <= most:
        return []
    word = "lost" if found < least else "doubled" if found > 1 else "refused but stored"
    return [f"{word}: {what} {op.token} was {op.outcome}, is there {found} times"]


def _inserts(ops: Sequence[Op], state: State) -> list[str]:
    alerts = Counter(token for _, token, _ in state["alerts"])
    orders = Counter(token for _, _, token, _ in state["orders"])
    parents = {token: (number, qty) for number, token, qty in state["alerts"]}
    deleted = {str(op.what["of"]): op for op in ops if op.kind == "delete"}
    findings = []
    for op in ops:
        if op.kind not in ("insert", "undone"):
            continue
        gone = deleted.get(op.token)
        expected = op if gone is None else Op("insert", op.token, op.client, op.what, _NOT[gone.outcome])
        findings += _amount("alert", expected, alerts[op.token]) + _amount(
            "order", expected, orders[op.token]
        )
        if alerts[op.token] != orders[op.token]:
            findings.append(f"half: {op.token} has {alerts[op.token]} alerts, {orders[op.token]} orders")
        if op.kind == "insert" and op.token in parents and parents[op.token][1] != op.what["n"]:
            findings.append(f"different: {op.token} holds {parents[op.token][1]}, not {op.what['n']}")
    for number, parent, token, _ in state["orders"]:
        if token in parents and parents[token][0] != parent:
            findings.append(f"different: order {number} of {token} has parent {parent}")
    known = {op.token for op in ops if op.kind in ("insert", "undone")}
    return findings + [f"nobody inserted {token}" for token in alerts.keys() - known]


_NOT = {Outcome.OK: Outcome.REFUSED, Outcome.REFUSED: Outcome.OK, Outcome.UNKNOWN: Outcome.UNKNOWN}


def _transfers(ops: Sequence[Op], state: State) -> list[str]:
    records = Counter(token for _, token, _ in state["transfers"])
    findings = [
        line for op in ops if op.kind == "transfer" for line in _amount("transfer", op, records[op.token])
    ]
    expected = {f"ACC{n}": START for n in range(ACCOUNTS)}
    for _, _, what in state["transfers"]:
        first, second, n = map(int, what.split(","))
        expected[f"ACC{first}"] += n
        expected[f"ACC{second}"] -= n
    balances = {symbol: qty for symbol, qty in state["positions"] if symbol in expected}
    if balances != expected:
        findings.append(f"different: balances are {balances}, the records say {expected}")
    return findings


def _lists(ops: Sequence[Op], state: State) -> list[str]:
    findings = []
    lists = {name: details.split(",")[:-1] for name, details in state["lists"]}
    for op in ops:
        if op.kind == "append":
            findings += _amount("item", op, lists[op.what["list"]].count(op.token))
    for name, tokens in lists.items():
        of_client: dict[str, list[str]] = {}
        for token in tokens:
            of_client.setdefault(token.rpartition(".")[0], []).append(token)
        findings += [
            f"out of order: {name} of client {client}"
            for client, own in of_client.items()
            if own != sorted(own)
        ]
    return findings


def _counts(ops: Sequence[Op], state: State) -> list[str]:
    findings = []
    for symbol, qty in state["positions"]:
        if not symbol.startswith("CTR"):
            continue
        outcomes = Counter(op.outcome for op in ops if op.kind == "count" and op.what["counter"] == symbol)
        least, most = outcomes[Outcome.OK], outcomes[Outcome.OK] + outcomes[Outcome.UNKNOWN]
        if not least <= qty <= most:
            word = "lost" if qty < least else "doubled"
            findings.append(f"{word}: {symbol} is {qty:g}, the clients were told {least} to {most}")
    return findings
