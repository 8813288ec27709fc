"""What a failing test prints: where it failed, and the end of what it wrote; the backend logs every request."""

from __future__ import annotations

import pytest

OUTPUT_LINES = 60
TRACE_LINES = 120


def shortened(text: str, limit: int, *, head: int = 0) -> str:
    """The first `head` lines and the last ones, at most `limit` in all, and how many are left out."""
    lines = text.splitlines()
    if len(lines) <= limit:
        return text
    left_out = f"[... {len(lines) - limit} lines left out ...]"
    return "\n".join([*lines[:head], left_out, *lines[len(lines) - limit + head :]])


def shorten_report(report: pytest.TestReport) -> None:
    """Keep the end of what a failed test wrote, and of an overlong comparison the beginning and the end."""
    written = [(name, text) for name, text in report.sections if text.strip()]
    report.sections[:] = [(name, shortened(text, OUTPUT_LINES // len(written))) for name, text in written]
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = crash.message.partition("\n")[0]  # the closing summary shows it once more
    for entry in getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", ()):
        entry.lines[:] = shortened("\n".join(entry.lines), TRACE_LINES, head=TRACE_LINES // 3).splitlines()
