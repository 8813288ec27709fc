"""One HTML file that shows a run: verdict, bounds beside what was measured, and what happened over time.

Self-contained: styles and drawings are in the file, so that it can be mailed or kept with a build.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from loadtests.judge.bounds import Check
from loadtests.judge.outcome import Outcome
from loadtests.judge.watch import Sample
from loadtests.show.charts import charts, close_ups
from loadtests.show.lines import shown
from loadtests.traffic.profiles import Profile

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6572; --line: #d9dee5; --paper: #fff; --ok: #22774a;
  --no: #b91f33; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --dim: #a2acb9; --line: #333c48; --paper: #12161c;
  --ok: #5cc08a; --no: #ff7585; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; }
p { margin: .3rem 0 .6rem; color: var(--dim); }
.ok { color: var(--ok); font-weight: 600; } .no { color: var(--no); font-weight: 600; }
table { border-collapse: collapse; margin: .5rem 0 1.2rem; } th, td { padding: .2rem .9rem .2rem 0; text-align: left;
  vertical-align: top; } th { color: var(--dim); font-weight: 500; } tr { border-bottom: 1px solid var(--line); }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } td:first-child { min-width: 13rem; } .why { color: var(--dim); font-size: 13px; }
svg { width: 100%; height: auto; margin: .4rem 0; } svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg .title { font-size: 13px; font-weight: 600; } svg .axis { fill: var(--dim); } svg .grid { stroke: var(--line); }
svg .limit { stroke: var(--dim); stroke-dasharray: 5 4; }
svg .phase rect { fill: #3b82f6; opacity: .1; } svg .switch rect { fill: #d64559; opacity: .4; }
svg .phase text, svg .switch text { font-size: 10px; fill: var(--dim); } svg .switch text { fill: var(--no); }
"""


def report(
    profile: Profile,
    outcome: Outcome,
    checks: Sequence[Check],
    figures: Mapping[str, Any],
    entry: Mapping[str, Any],
    samples: Sequence[Sample],
    began: float,
) -> str:
    """A load run as one HTML file.

    Args:
        profile: as it was played.
        figures: what the run has measured.
        entry: the same, with the machine and the day.
        samples: every look at the lag.
        began: when the load began, in seconds since the epoch.
    """
    facts = entry["machine"]
    drawings: dict[str, list[str]] = {}
    if outcome.deliveries:
        marks = [mark.since(began) for mark in outcome.marks]
        drawings = {
            "Over time": charts(outcome.deliveries, samples, marks, began, profile.bounds),
            "The switches from near": close_ups(outcome.deliveries, samples, marks, began),
        }
    notes = (
        profile.why,
        f"{entry['date']}: ST_DUAL_WRITE={entry.get('dual_write')}, seed {profile.seed}, scale {entry.get('scale')} "
        f"({profile.peak} users at the peak); {facts['processors']} processors ({facts['processor']}), "
        f"{facts['memory_gb']} GB, load average before {entry['load_average'][0]}; Python {facts['python']}, "
        f"SQLite {facts['sqlite']}, PostgreSQL {facts['postgresql']}, SQLAlchemy {facts['sqlalchemy']}, "
        f"psycopg {facts['psycopg']}.",
        f"{entry['command']}",
    )
    rows = flat(figures if outcome.judged else {})
    return page(f"Cutover under load: {profile.name}", notes, outcome.problems, checks, rows, drawings)


def page(
    title: str,
    notes: Sequence[str],
    problems: Sequence[str],
    checks: Sequence[Check],
    rows: Iterable[tuple[str, Any]],
    drawings: Mapping[str, Sequence[str]],
) -> str:
    """The whole file.

    Args:
        notes: lines below the title: why, and on what it was measured.
        problems: what else went wrong than a bound; with none, and every check held, the run held.
        checks: bounds and what was measured.
        rows: all figures.
        drawings: charts by heading.
    """
    held = not problems and all(check.held for check in checks)
    verdict = '<span class="ok">held</span>' if held else '<span class="no">did not hold</span>'
    return "".join(
        (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{STYLE}</style></head><body><h1>{escape(title)}: {verdict}</h1>",
            *(f"<p>{escape(note)}</p>" for note in notes),
            *(f'<p class="no">{escape(problem)}</p>' for problem in problems),
            _bounds(checks),
            *(f"<h2>{escape(name)}</h2>{''.join(charts)}" for name, charts in drawings.items()),
            _figures(rows),
            "</body></html>\n",
        )
    )


def _bounds(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    rows = "".join(
        f'<tr><td>{escape(check.what)}</td><td class="n">{escape(shown(check.measured))} {check.unit}</td>'
        f'<td class="n">{escape(shown(check.bound))} {check.unit}</td>'
        f'<td class="{"ok" if check.held else "no"}">{"held" if check.held else "broken"}</td>'
        f'<td class="why">{escape(check.reason)}</td></tr>'
        for check in checks
    )
    return (
        '<h2>Bounds</h2><table><tr><th>what</th><th class="n">measured</th><th class="n">at most</th><th></th>'
        f"<th>why this bound</th></tr>{rows}</table>"
    )


def _figures(rows: Iterable[tuple[str, Any]]) -> str:
    table = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{escape(shown(value))}</td></tr>' for name, value in rows
    )
    return f"<h2>Figures</h2><table>{table}</table>"


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """A nested mapping as rows for `page`; lists are left out."""
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        label = f"{prefix} {name}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            rows += flat(value, label)
        elif not isinstance(value, list):
            rows.append((label, value))
    return rows
