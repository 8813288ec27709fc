"""What an operator sees of listings on a replica, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

READS = Counter("st_listing_reads", "Listings by the database that they read", ["source"])
AGE = Gauge(
    "st_replica_staleness_seconds",
    "How old the replica may be at most; infinite when nobody can tell",
    multiprocess_mode="livemax",
)
