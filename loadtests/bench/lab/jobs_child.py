"""One worker of the queue of orders in a process of its own: claims in batches, does nothing, notes each job as done."""

from __future__ import annotations

import sys
import uuid

from sqlalchemy import make_url
from sqlalchemy.orm import Session

from app.db.common.settings import ShimSettings
from app.db.session.engines import make_engine
from app.services.orders.sending.jobs import ORDERS
from app.services.shared.jobs.claim import claim, finish
from app.services.shared.jobs.queue import Floors

BATCH = 10


def main(url: str) -> None:
    """Work until nothing is open; begins when a line comes in."""
    engine = make_engine(make_url(url), ShimSettings())
    floors, name = Floors(), uuid.uuid4().hex
    with Session(engine) as db:
        claim(db, ORDERS, name, 0)
        finish(db, ORDERS, 0, name)  # there is no such job: statements are built before the begin
        db.rollback()
    print("ready", flush=True)
    sys.stdin.readline()
    empty = 0
    while empty < 2:  # the second one looks at everything
        with Session(engine) as db:
            ids = claim(db, ORDERS, name, BATCH, floors=floors)
            db.commit()
            for job_id in ids:  # each outcome is a commit of its own, as orders' are
                finish(db, ORDERS, job_id, name)
                db.commit()
        empty = 0 if ids else empty + 1
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
