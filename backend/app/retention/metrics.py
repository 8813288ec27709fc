"""What an operator sees of retention, in Prometheus' terms."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

ROWS = Counter("st_retention_rows", "Rows that went into archives", ["rule"])
ARCHIVE_BYTES = Counter("st_retention_archive_bytes", "Bytes of archive files that were written", ["rule"])
BATCH_SECONDS = Histogram(
    "st_retention_batch_seconds",
    "What the transaction of a batch took",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
FAILED = Counter("st_retention_failed_runs", "Runs that ended with an error")
LAST_SUCCESS = Gauge(
    "st_retention_last_success_seconds",
    "When a run last ended without an error, in seconds since 1970",
    multiprocess_mode="mostrecent",
)


def begin(rules: Iterable[str]) -> None:
    """Show every counter at 0: a series that begins with its first event is never seen to grow by it."""
    for rule in rules:
        ROWS.labels(rule)
        ARCHIVE_BYTES.labels(rule)
