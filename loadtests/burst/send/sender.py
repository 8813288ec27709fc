"""One sender process of a burst: makes its messages, waits for the moment, sends them, writes its ledger.

The ledger names every delivery before the first one leaves. Outcomes are written when all are known, so that
writing costs nothing while the burst lasts. What the process itself took is written into a file of its own; a
process that died has not written that file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from loadtests.burst.send.plan import Burst, Planned, share
from loadtests.burst.send.volley import RESEND_DELAY_S, Sent, Volley, may_open_many
from loadtests.judge.figures import percentile
from loadtests.stage.processes import WEBHOOK_SECRET
from loadtests.traffic.ledger import Delivery, Ledger
from loadtests.traffic.sender import PATH, conclude
from loadtests.traffic.shapes import Shape, Signal
from loadtests.traffic.wire import head

DEDUPED = "deduped"


def message(signal: Signal, shape: Shape, secret: str) -> bytes:
    """The whole request of a delivery."""
    wire = shape.write(signal, secret)
    return head("POST", PATH, wire.body, {"Content-Type": wire.content_type, **wire.headers}) + wire.body


def concluded(one: Planned, sent: Sent) -> Delivery:
    """What may be concluded; an acknowledged delivery that was stored by an earlier attempt says so in `why`."""
    late_ms = sent.late * 1000
    found = conclude(one.signal, one.shape, tuple(sent.attempts), late_ms, sent.answer, sent.why)
    told = sent.answer.json() if sent.answer is not None else {}
    return replace(found, why=DEDUPED) if told.get("status") == DEDUPED else found


def main(argv: Sequence[str] | None = None) -> int:
    """Send one process's share of a burst."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--at", type=float, required=True, help="begin, in seconds since the epoch")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--within", type=float, required=True)
    parser.add_argument("--auto", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--source", type=int, default=0)
    parser.add_argument("--resend-delay", type=float, default=RESEND_DELAY_S)
    parser.add_argument("--resend-cut", action="store_true")
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--done", type=Path, required=True)
    o = parser.parse_args(argv)
    may_open_many()
    burst = Burst(o.count, o.within, o.auto, o.seed)
    planned = share(burst.plan(o.run), o.number, o.processes)
    messages = [message(one.signal, one.shape, WEBHOOK_SECRET) for one in planned]
    with closing(Ledger(o.ledger)) as ledger:
        for one in planned:
            ledger.begin(one.signal.marker, one.shape.name, one.shape.expected(one.signal))
        volley = Volley(
            o.port,
            messages,
            [one.due for one in planned],
            source=o.source,
            resend_delay_s=o.resend_delay,
            resend_cut=o.resend_cut,
        )
        wait = o.at - time.time()
        if wait < 0:
            print(f"prepared {-wait:.1f} s too late", file=sys.stderr)
            return 3
        began = time.monotonic() + wait
        time.sleep(wait)
        processor = time.process_time()
        sent = volley.run(began)
        processor = time.process_time() - processor
        for one, what in zip(planned, sent, strict=True):
            ledger.write(concluded(one, what))
    late = [what.late * 1000 for what in sent]
    done = {"processor_s": processor, "late_p99_ms": percentile(late, 0.99), "deliveries": len(sent)}
    o.done.write_text(json.dumps(done), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
