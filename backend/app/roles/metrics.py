"""What an operator sees of roles, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LEADS = Gauge("st_scheduler_leads", "1 in the process that is the scheduler now", multiprocess_mode="livemax")
FAILED_TURNS = Counter("st_scheduler_failed_turns", "Turns of a task that ended with an error", ["task"])
