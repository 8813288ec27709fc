"""What load runs and the webhook benchmark have measured, as tables of the documents.

    python -m loadtests.show.published

renews docs/load.md, the section Capacity of docs/scaling.md and the tables of README from the committed figures; figures that
are not there are left out. A full `make load` and a full `make bench` call it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from loadtests.show.headline import demo_table, headline_table
from loadtests.show.tables import number
from loadtests.stage.processes import REPO

Json = dict[str, Any]
FIGURES = REPO / "docs" / "figures"
NAMES = {"sync": "load", "async": "load_async"}
TITLE = "Cutover, rollback and cutover under load"
AT_REST = 1  # clients of the row of the benchmark that shows the time of a single delivery


def main() -> int:
    """Renew the documents; returns the exit code."""
    for path, text in renewed(REPO / "docs", FIGURES).items():
        path.write_text(text, encoding="utf-8")
    return 0


def renewed(docs: Path, figures: Path) -> dict[Path, str]:
    """Each document as it has to be, from the figures that there are."""
    texts: dict[Path, str] = {}
    for name, (document, table) in TABLES.items():
        path = docs / document
        text = texts.get(path) or path.read_text(encoding="utf-8")
        texts[path] = insert(text, name, table(figures))
    return texts


def insert(document: str, name: str, table: str) -> str:
    """The document with a table between its markers; ValueError if it has none of this name."""
    begin, end = (f"<!-- {mark}figures:{name} -->" for mark in ("", "/"))
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"no markers for {name}")
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", document)


def merged(old: Json | None, new: Json) -> Json:
    """A run's figures, with those profiles of an earlier one on the same machine that it did not play."""
    if old is None or old["machine"] != new["machine"]:
        return new
    profiles = {entry["profile"]: entry for entry in (*old["profiles"], *new["profiles"])}
    return new | {"profiles": list(profiles.values())}


def load(path: Path) -> Json | None:
    """Committed figures, None if there are none."""
    if not path.exists():
        return None
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def load_table(figures: Path, mode: str) -> str:
    """One row per profile."""
    result = load(figures / f"{NAMES[mode]}.json")
    if result is None:
        return f"No figures for {mode} have been committed."
    lines = [
        f"ST_DUAL_WRITE={mode}; {_machine(result)}.",
        "",
        "| profile | scale | deliveries | lost, doubled, altered | failed, unanswered | answers p50 / p99, ms "
        "| pauses, ms | lag p50 / p99, ms | verdict |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    lines += [_profile_row(entry) for entry in result["profiles"]]
    commands = sorted({f"`{entry['command']}` ({entry['date']})" for entry in result["profiles"]})
    return "\n".join([*lines, "", f"From {', '.join(commands)}."])


def _profile_row(entry: Json) -> str:
    counts, answers, lag = entry["deliveries"], entry["answer_ms"], entry["lag_ms"]
    pauses = ", ".join(number(switch["reported_ms"]) for switch in entry["switch"].values())
    broken = [check["what"] for check in entry["checks"] if not check["held"]]
    verdict = "held" if entry["held"] else f"broken: {', '.join(broken) or 'see the figures'}"
    return (
        f"| {entry['profile']} | {entry['scale']:g} | {counts['deliveries']:,} | {counts['findings']} "
        f"| {counts['failed'] + counts['unknown'] + counts['cut_off']} | {number(answers['p50'])} / {number(answers['p99'])} "
        f"| {pauses} | {number(lag['p50'])} / {number(lag['p99'])} | {verdict} |"
    )


def capacity_table(figures: Path) -> str:
    """Deliveries per second that were measured, each with what bounds it."""
    rows: list[str] = []
    origins: list[str] = []
    webhook = load(figures / "webhook.json")
    if webhook is not None:
        rows += _webhook_rows(webhook)
        origins.append(f"`{webhook['command']}`, {webhook['date']}: {_machine(webhook)}")
    for mode, name in NAMES.items():
        result = load(figures / f"{name}.json")
        if result is not None:
            rows += [_load_row(entry, mode) for entry in result["profiles"]]
            origins.append(f"`make load`, {result['date']}: {_machine(result)}")
    if not rows:
        return "No figures have been committed."
    return "\n".join(
        [
            "| from | load | mode | deliveries/s | p50 / p99, ms | bound by |",
            "|---|---|---|---:|---:|---|",
            *rows,
            "",
            *(f"- {origin}" for origin in dict.fromkeys(origins)),
        ]
    )


def _webhook_rows(webhook: Json) -> Iterable[str]:
    found: dict[tuple[str, str], dict[str, float]] = {}
    for figure in webhook["figures"]:
        values = found.setdefault((figure["group"], figure["name"]), {})
        values[figure["quantity"]] = figure["value"]["median"]
    for (group, name), values in found.items():
        yield (
            f"| bench | {group} | {name} | {number(values['deliveries'])} "
            f"| {number(values['p50'])} / {number(values['p99'])} | {bound_of(group, name)} |"
        )


def bound_of(group: str, name: str) -> str:
    """What holds a row of the webhook benchmark back."""
    workers, clients = (int(found) for found in re.findall(r"(\d+) (?:worker|client)", group))
    if clients == AT_REST:
        return "the time of one delivery: nothing else is under way"
    if "naive" in name:
        return "two commits, one after the other"
    if "sync" in name.split() or "strict" in name:
        return "the commit on the second side, besides the backend's processor time"
    if workers == 1:
        return "one Python process"
    return "all cores: backend, databases and clients share them"


def _load_row(entry: Json, mode: str) -> str:
    sent = entry["deliveries"]["deliveries"] / entry["load_seconds"]
    answers = entry["answer_ms"]
    return (
        f"| load | {entry['profile']}, {entry['peak_users']} users at its peak | {mode}, during a whole move "
        f"| {number(sent)} | {number(answers['p50'])} / {number(answers['p99'])} "
        "| what the profile sends: no limit was looked for |"
    )


def _machine(result: Json) -> str:
    machine = result["machine"]
    return (
        f"{machine['processors']} processors ({machine['processor']}), {machine['memory_gb']} GB, "
        f"Python {machine['python']}, SQLite {machine['sqlite']}, PostgreSQL {machine['postgresql']}"
    )


TABLES: Mapping[str, tuple[str, Callable[[Path], str]]] = {
    "load": ("load.md", lambda figures: load_table(figures, "sync")),
    "load_async": ("load.md", lambda figures: load_table(figures, "async")),
    "capacity": ("scaling.md", capacity_table),
    "headline": ("../README.md", headline_table),
    "demo": ("../README.md", demo_table),
}


if __name__ == "__main__":
    sys.exit(main())
