"""What an operator sees of listings on a replica, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

READS = Counter("st_listing_reads", "Listings by the database that they read", ["source"])
for _source in ("primary", "replica"):
    READS.labels(_source)  # a series that begins with its first event is never seen to grow by it
AGE = Gauge(
    "st_replica_staleness_seconds",
    "How old the replica may be at most; infinite when nobody can tell",
    multiprocess_mode="livemax",
)
