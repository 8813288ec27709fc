"""What an operator sees of queues of jobs, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

OPEN = Gauge("st_jobs_open", "Jobs that wait or run", ["queue"], multiprocess_mode="livemostrecent")
OLDEST_SECONDS = Gauge(
    "st_jobs_oldest_seconds",
    "Age of the oldest job that could run and does not",
    ["queue"],
    multiprocess_mode="livemostrecent",
)
DEAD = Gauge(
    "st_jobs_dead",
    "Jobs that failed for good and wait for a person",
    ["queue"],
    multiprocess_mode="livemostrecent",
)
ENDED = Counter("st_jobs_ended", "Claims of this process by how they ended", ["queue", "outcome"])
TAKEN_OVER = Counter("st_jobs_taken_over", "Jobs whose worker died or stood still", ["queue"])


def begin(queue: str) -> None:
    """Show every counter of a queue at 0: a series that begins with its first event is never seen to grow by it."""
    TAKEN_OVER.labels(queue)
    for outcome in ("done", "failed", "dead", "lost", "unknown", "broken"):
        ENDED.labels(queue, outcome)
