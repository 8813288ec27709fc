"""The oracle: compares what the senders were told with what both databases hold.

For every delivery, on each side:

- acknowledged: exactly one alert and one order, with the ids of the answer and the contents of the signal;
- refused or failed: nothing;
- unknown or cut off (no answer arrived): nothing, or one complete copy with the right contents.

A stored signal has the event that ends it as often as its order asks for: once when that waits for a person or is with
its broker, and not while it is on its way there.

For every other write the row must hold the last acknowledged values, or those of a later write of
which nobody knows. It reads with plain drivers (`loadtests.judge.sides`) and knows nothing of the session layer.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loadtests.judge.sides import Database, Row
from loadtests.traffic.ledger import Delivery, Fact, Outcome

ENDING = "Alert ingested and order created"  # the event that ends a signal
ENDINGS = {
    **dict.fromkeys((("AUTO", status) for status in ("SENT", "OPEN", "EXECUTED")), (1, 1)),
    **dict.fromkeys((("AUTO", status) for status in ("WAITING", "SENDING", "FAILED")), (0, 0)),
    ("MANUAL", "WAITING"): (1, 1),
}
PUT_ASIDE = (0, 1)  # a message on the order may tell of a signal that did not come to its end

Edited = Mapping[int, Set[str]]  # by order: the columns that later writes have changed


@dataclass(frozen=True)
class Finding:
    """One thing that must not be. `kind`: lost, doubled, different or refused_but_stored."""

    kind: str
    side: str
    what: str
    detail: str


@dataclass
class Verdict:
    """Everything that was found. Counts are of deliveries, not of sides."""

    deliveries: int = 0
    acknowledged: int = 0
    refused: int = 0
    failed: int = 0
    unknown: int = 0
    cut_off: int = 0
    facts: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, *kinds: str) -> int:
        """How many deliveries or rows have a finding of these kinds, on any side."""
        return len({finding.what for finding in self.findings if finding.kind in kinds})

    @property
    def clean(self) -> bool:
        """Whether nothing was found; a failed delivery is no finding, since the sender knows of it."""
        return not self.findings


@dataclass(frozen=True)
class _Stored:
    """The rows of one run on one side, by marker."""

    alerts: Mapping[str, list[Row]]
    orders: Mapping[str, list[Row]]
    endings: Mapping[int, int]  # by order: events that end its signal


def judge(run: str, entries: Iterable[Delivery | Fact], sides: Sequence[Database]) -> Verdict:
    """Compare the ledger of one run with the given sides.

    Args:
        run: the prefix of the run's markers.
        entries: the ledger, in the order of writing; of several writes to one row the last one counts.
        sides: databases whose writers have stopped.
    """
    verdict = Verdict()
    deliveries: list[Delivery] = []
    facts: dict[tuple[str, str, frozenset[str]], list[Fact]] = defaultdict(list)
    for entry in entries:
        if isinstance(entry, Fact):
            key = json.dumps(entry.key, sort_keys=True)
            _remember(facts[entry.table, key, frozenset(entry.values)], entry)
            verdict.facts += 1
        else:
            deliveries.append(entry)
    _count(deliveries, verdict)
    edited: dict[int, Set[str]] = {}
    for table, key, columns in facts:
        if table == "orders":
            order_id = json.loads(key)["id"]
            edited[order_id] = columns | edited.get(order_id, frozenset())
    for side in sides:
        verdict.findings += _check_deliveries(side, run, deliveries, edited)
        for (table, key, _), history in facts.items():
            verdict.findings += _check_fact(side, table, json.loads(key), history)
    return verdict


def _remember(history: list[Fact], fact: Fact) -> None:
    """Keep the last acknowledged write of some columns of a row, and the doubtful ones after it."""
    if fact.acknowledged:
        history.clear()
    history.append(fact)


def _count(deliveries: Iterable[Delivery], verdict: Verdict) -> None:
    outcomes = Counter(delivery.outcome for delivery in deliveries)
    verdict.deliveries = outcomes.total()
    verdict.acknowledged = outcomes[Outcome.ACKNOWLEDGED]
    verdict.refused = outcomes[Outcome.REFUSED]
    verdict.failed = outcomes[Outcome.FAILED]
    verdict.unknown = outcomes[Outcome.UNKNOWN]
    verdict.cut_off = outcomes[Outcome.CUT_OFF]


def _check_deliveries(
    side: Database, run: str, deliveries: Sequence[Delivery], edited: Edited
) -> list[Finding]:
    stored = _read(side, run)
    findings = [f for delivery in deliveries for f in _check(side.name, delivery, stored, edited)]
    for marker in sorted(set(stored.alerts) - {delivery.marker for delivery in deliveries}):
        findings.append(Finding("different", side.name, marker, "rows of a delivery that nobody sent"))
    return findings


def _read(side: Database, run: str) -> _Stored:
    alerts: dict[str, list[Row]] = defaultdict(list)
    orders: dict[str, list[Row]] = defaultdict(list)
    markers: dict[int, str] = {}
    for row in side.select("SELECT * FROM alerts WHERE raw_payload LIKE ?", (f'%"order_id":"{run}-%',)):
        marker = json.loads(row["raw_payload"])["order_id"]
        alerts[marker].append(row)
        markers[row["id"]] = marker
    for row in side.select("SELECT * FROM orders WHERE alert_id IS NOT NULL"):
        if row["alert_id"] in markers:
            orders[markers[row["alert_id"]]].append(row)
    for row in side.select(
        "SELECT * FROM orders WHERE alert_id IS NULL AND client_order_id LIKE ?", (f"TV:%:{run}-%",)
    ):
        marker = row["client_order_id"].split(":")[3]
        orders[marker].append(row)
    told = side.select("SELECT details FROM system_events WHERE message = ?", (ENDING,))
    return _Stored(alerts, orders, Counter(json.loads(row["details"])["order_id"] for row in told))


def _check(side: str, delivery: Delivery, stored: _Stored, edited: Edited) -> list[Finding]:
    alerts = stored.alerts.get(delivery.marker, [])
    orders = stored.orders.get(delivery.marker, [])
    found = f"{len(alerts)} alerts, {len(orders)} orders"

    def finding(kind: str, detail: str) -> list[Finding]:
        return [Finding(kind, side, delivery.marker, f"{delivery.outcome}: {detail}")]

    if len(alerts) > 1 or len(orders) > 1:
        return finding("doubled", found)
    if delivery.outcome is Outcome.ACKNOWLEDGED:
        if not alerts or not orders:
            return finding("lost", found)
        ids = alerts[0]["id"], orders[0]["id"]
        if ids != (delivery.alert_id, delivery.order_id):
            return finding("different", f"answered {(delivery.alert_id, delivery.order_id)}, stored as {ids}")
    elif delivery.outcome not in (Outcome.UNKNOWN, Outcome.CUT_OFF):
        return finding("refused_but_stored", found) if alerts or orders else []
    elif not alerts and not orders:
        return []
    elif not alerts or not orders:
        return finding("different", f"half a delivery: {found}")
    wrong = _differences(
        delivery.expected or {}, alerts[0], orders[0], edited.get(orders[0]["id"], frozenset())
    )
    if wrong:
        return finding("different", "; ".join(wrong))
    return _check_ending(finding, orders[0], stored.endings.get(orders[0]["id"], 0))


def _check_ending(finding: Callable[[str, str], list[Finding]], order: Row, endings: int) -> list[Finding]:
    least, most = ENDINGS.get((order["mode"], order["status"]), PUT_ASIDE)
    if order["mode"] == "MANUAL" and order["error_message"]:
        least, most = PUT_ASIDE
    if least <= endings <= most:
        return []
    told = f"{order['mode']}, {order['status']}: {endings} events end the signal"
    return finding("lost" if endings < least else "doubled", told)


def _differences(
    expected: Mapping[str, Mapping[str, Any]], alert: Row, order: Row, edited: Set[str]
) -> list[str]:
    wrong = []
    for name, row in (("alert", alert), ("order", order)):
        for column, value in expected.get(name, {}).items():
            if row[column] != value and not (name == "order" and column in edited):
                wrong.append(f"{name}.{column} is {row[column]!r}, sent {value!r}")
    if order["alert_id"] != alert["id"]:
        wrong.append(f"order.alert_id is {order['alert_id']!r}")
    return wrong


def _check_fact(side: Database, table: str, key: Mapping[str, Any], history: Sequence[Fact]) -> list[Finding]:
    where = " AND ".join(f"{column} = ?" for column in key)
    rows = side.select(f"SELECT * FROM {table} WHERE {where}", tuple(key.values()))
    what = f"{table} {json.dumps(key, ensure_ascii=False)}"
    if len(rows) > 1:
        return [Finding("doubled", side.name, what, f"{len(rows)} rows")]
    if not history[0].acknowledged:
        return []  # nobody was ever told what the row holds
    if not rows:
        return [Finding("lost", side.name, what, "no row")]
    if any(all(_plain(rows[0][c]) == v for c, v in fact.values.items()) for fact in history):
        return []
    held = {column: _plain(rows[0][column]) for column in history[0].values}
    return [Finding("different", side.name, what, f"{held}, told {dict(history[-1].values)}")]


def _plain(value: Any) -> Any:
    """A value as JSON holds it; times in the form SQLite stores them in."""
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value
