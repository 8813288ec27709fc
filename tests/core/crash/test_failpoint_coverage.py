"""Every failpoint is somebody's test material: a new one without a test shows here."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.common.failpoints import Failpoint

TESTS = Path(__file__).resolve().parents[2]

# Whose tests stop at a group of points; the group is the part of the name before the dot.
OWNERS = {
    "apply": ("core/apply", "core/copy", "core/crash"),
    "commit": ("core/session",),
    "strict": ("core/session",),
    "prepare": ("core/copy",),
    "copy": ("core/copy",),
    "verify": ("data/verify",),
    "switch": ("core/switch",),
    "recover": ("core/switch",),
    "complete": ("operator/cli",),
    "capture": ("core/apply",),
    "schema": ("data/schema",),
    "retention": ("backend/living",),
    "order": ("backend/api/orders",),
    "job": ("backend/api/orders",),
}
# Groups of which a suite takes every point that the enum has, so that no name need stand in its text.
WHOLE_GROUPS = {
    "order": "backend/api/orders/jobs/test_order_queue_kills.py",
    "job": "backend/api/orders/jobs/test_order_queue_kills.py",
    "prepare": "core/copy/test_backfill_kill.py",
    "copy": "core/copy/test_backfill_kill.py",
    "switch": "core/switch/test_switch_kill.py",
    "schema": "data/schema/agree/test_revisions_that_commit.py",
    "retention": "backend/living/retention/test_retention_crash.py",
}


def _text(folders: tuple[str, ...]) -> str:
    files = [path for folder in folders for path in sorted((TESTS / folder).rglob("*.py"))]
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path != Path(__file__))


@pytest.mark.parametrize("point", Failpoint)
def test_point_has_a_test(point: Failpoint) -> None:
    group = point.partition(".")[0]
    assert group in OWNERS, f"{point} belongs to nobody: say in OWNERS who tests it"
    if group in WHOLE_GROUPS:
        assert f'point.startswith("{group}.")' in (TESTS / WHOLE_GROUPS[group]).read_text(encoding="utf-8")
        return
    text = _text(OWNERS[group])
    assert f"Failpoint.{point.name}" in text or f"{point}=" in text, f"no test stops at {point}"
