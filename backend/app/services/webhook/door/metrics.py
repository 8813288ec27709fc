"""What an operator sees of the door, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

QUEUE = Gauge("st_webhook_queue", "Deliveries in line for the writer", multiprocess_mode="livesum")
GROUP_SIZE = Histogram(
    "st_webhook_group_size",
    "Deliveries that one transaction stored",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
WAIT_SECONDS = Histogram(
    "st_webhook_wait_seconds",
    "From the arrival of a delivery to the moment when its outcome is known",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 5.0),
)
REFUSED = Counter(
    "st_webhook_refused",
    "Deliveries answered 503: full line, predicted wait, deadline passed in line, outcome unknown in time",
    ["reason"],
)
FULL, WAIT, LATE, OPEN = (REFUSED.labels(reason) for reason in ("full", "wait", "late", "open"))
