"""Every counter with labels has its series before the first event: `rate` does not see a series begin."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

import app.main  # noqa: F401 - a backend imports all that counts, before it serves
from app.core.config import get_settings
from app.retention.run import Retention
from app.roles.leader import Leadership
from app.roles.scheduler import Scheduler, Task
from app.services.orders.sending.jobs import ORDERS
from app.services.shared.jobs.crew import Crew

pytestmark = pytest.mark.usefixtures("_made")


@pytest.fixture
def _made(tmp_path: Path) -> None:
    """What owns the counters, as a process has it at its start; none of it runs."""
    Crew(ORDERS, None, lambda *_: None, 1).stop()  # type: ignore[arg-type]  # nothing asks for a session
    settings = get_settings().model_copy(update={"retention_days": "candles.2h=5"})
    Retention(None, settings, folder=tmp_path)  # type: ignore[arg-type]  # likewise
    leadership = Leadership.__new__(Leadership)
    Scheduler(leadership, [Task("a task", 1.0, lambda: None)])


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        *(("st_listing_reads_total", {"source": source}) for source in ("primary", "replica")),
        *(
            ("st_shadow_reads_total", {"outcome": outcome})
            for outcome in ("equal", "different", "failed", "dropped")
        ),
        *(
            ("st_jobs_ended_total", {"queue": "orders", "outcome": outcome})
            for outcome in ("done", "failed", "dead", "lost", "unknown", "broken")
        ),
        ("st_jobs_taken_over_total", {"queue": "orders"}),
        ("st_scheduler_failed_turns_total", {"task": "a task"}),
        *(("st_retention_rows_total", {"rule": rule}) for rule in ("alerts", "candles.2h")),
        ("st_retention_archive_bytes_total", {"rule": "candles.2h"}),
        *(("st_apply_rounds_total", {"outcome": outcome}) for outcome in ("applied", "empty", "failed")),
        *(("st_webhook_refused_total", {"reason": reason}) for reason in ("full", "wait", "late", "open")),
    ],
)
def test_a_counter_is_there_before_its_first_event(name: str, labels: dict[str, str]) -> None:
    assert REGISTRY.get_sample_value(name, labels) is not None
