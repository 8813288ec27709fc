"""The door through which webhook deliveries come, from a backend's metrics. Nothing if no URL was given."""

from __future__ import annotations

import urllib.request
from typing import Any
from urllib.error import URLError

from prometheus_client.parser import text_string_to_metric_families

LIMIT_S = 1.0
LIMIT_BYTES = 4_000_000
_QUEUE, _GROUPS, _REFUSED = "st_webhook_queue", "st_webhook_group_size", "st_webhook_refused_total"


def door(url: str) -> dict[str, Any]:
    """Deliveries that wait, groups and deliveries stored so far, and deliveries refused so far."""
    try:
        with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
            text = answer.read(LIMIT_BYTES).decode(errors="replace")
        found = {"queue": 0.0, "groups": 0.0, "deliveries": 0.0, "refused": 0.0}
        names = {
            _QUEUE: "queue", f"{_GROUPS}_count": "groups", f"{_GROUPS}_sum": "deliveries", _REFUSED: "refused",
        }  # fmt: skip
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in names:
                    found[names[sample.name]] += sample.value
    except (URLError, OSError, ValueError) as error:
        return {"error": f"the metrics cannot be read: {type(error).__name__}"}
    return found
