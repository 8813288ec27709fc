"""Every table of the documents that shows committed figures.

    python -m loadtests.show.published

renews the tables of README, docs/performance.md, docs/load.md, docs/comparison.md and docs/scaling.md from
docs/figures. A table whose figures are not there says so. A full `make load`, a full `make bench` and a `make burst` that writes
docs/figures/burst.json call this.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from loadtests.show.headline import ONE_EACH, PARTS, headline_table
from loadtests.show.summary import burst_table, demo_table, native_table
from loadtests.show.tables import NOTHING, against_table, committed, machine_line, number, table
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
    for mark, (document, make) in TABLES.items():
        path = docs / document
        text = texts.get(path) or path.read_text(encoding="utf-8")
        texts[path] = insert(text, mark, make(figures))
    return texts


def insert(document: str, mark: str, table: str) -> str:
    """The document with a table between its markers; ValueError if it has none of this name."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"no markers for {mark}")
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", document)


def merged(old: Json | None, new: Json) -> Json:
    """A run's figures, with those profiles of an earlier one on the same machine that it did not play."""
    if old is None or old["machine"] != new["machine"]:
        return new
    profiles = {entry["profile"]: entry for entry in (*old["profiles"], *new["profiles"])}
    return new | {"profiles": list(profiles.values())}


def load_table(figures: Path, mode: str) -> str:
    """One row per profile."""
    result = committed(figures, NAMES[mode])
    if result is None:
        return f"No figures for {mode} have been committed."
    lines = [
        f"ST_DUAL_WRITE={mode}; {machine_line(result)}.",
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
    webhook = committed(figures, "webhook")
    if webhook is not None:
        rows += _webhook_rows(webhook)
        origins.append(f"`{webhook['command']}`, {webhook['date']}: {machine_line(webhook)}")
    for mode, name in NAMES.items():
        result = committed(figures, name)
        if result is not None:
            rows += [_load_row(entry, mode) for entry in result["profiles"]]
            origins.append(f"`make load`, {result['date']}: {machine_line(result)}")
    if not rows:
        return NOTHING
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
    if name == ONE_EACH:
        return "one transaction, and one thread, for each delivery"
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


def bench_table(figures: Path, part: str) -> str:
    """One part of the benchmark."""
    result = committed(figures, part)
    return table(result) if result is not None else NOTHING


# Mark in the document: (document below docs, table out of the folder of figures).
TABLES: Mapping[str, tuple[str, Callable[[Path], str]]] = {
    "figures:load": ("load.md", partial(load_table, mode="sync")),
    "figures:load_async": ("load.md", partial(load_table, mode="async")),
    "figures:burst": ("load.md", burst_table),
    "figures:flood": ("load.md", partial(burst_table, of="flood")),
    "figures:faults": ("load.md", partial(burst_table, of="faults")),
    "figures:against": ("comparison.md", against_table),
    "figures:against_brief": ("../README.md", partial(against_table, brief=True)),
    "figures:capacity": ("scaling.md", capacity_table),
    "figures:burst_brief": ("../README.md", partial(burst_table, brief=True)),
    "figures:headline": ("performance.md", headline_table),
    "figures:native": ("living.md", native_table),
    "figures:demo": ("load.md", demo_table),
    **{f"bench:{part}": ("performance.md", partial(bench_table, part=part)) for part in PARTS},
}


if __name__ == "__main__":
    sys.exit(main())
